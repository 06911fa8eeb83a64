/* Invariant: what is read is within the limits, each pass is of a layer with a size, and the
 * experts of a pass are different. */
#include "client/emctl/route_trace.h"

#include "common/residency/expected_use.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN_TURN, COLUMN_PHASE, COLUMN_STEP, COLUMN_LAYER, COLUMN_SLOT, COLUMN_EXPERT, COLUMNS };
enum { LINE_MAX_BYTES = 512, PHASE_DECODE = 1 };

struct reader {
    struct route_trace trace;
    uint64_t turn, step; /* of the last row of decoding */
    bool has_step;       /* there was such a row */
    uint32_t uses_size, passes_size;
};

/* Reads digits and moves `*at` behind them. */
static bool take_number(const char **at, uint64_t max, uint64_t *ret)
{
    char *end;

    if (**at < '0' || **at > '9')
        return false;
    errno = 0;
    *ret = strtoull(*at, &end, 10);
    *at = end;
    return errno == 0 && *ret <= max;
}

static bool take_text(const char **at, const char *text)
{
    size_t n = strlen(text);

    if (strncmp(*at, text, n) != 0)
        return false;
    *at += n;
    return true;
}

/* Returns the elements with room for one more, or NULL when out of memory; then they do not change.
 */
static void *grow(void *elements, uint32_t n, uint32_t *size, size_t element_bytes)
{
    if (n < *size)
        return elements;
    uint32_t larger = *size > 0 ? 2 * *size : 1024;
    void *moved = reallocarray(elements, larger, element_bytes);
    if (moved)
        *size = larger;
    return moved;
}

/* The functions below return 0, -ENOMEM, or -EBADMSG and what is wrong. */
static int fail(const char **ret_what, const char *what)
{
    *ret_what = what;
    return -EBADMSG;
}

static int read_layer(struct reader *reader, const char *at, const char **ret_what)
{
    uint64_t index, expert_bytes, dense_bytes = 0;

    if (!take_number(&at, ROUTE_LAYERS_MAX - 1, &index))
        return fail(ret_what, "a layer is a number below 4096");
    if (!take_text(&at, " expert_bytes=") || !take_number(&at, ROUTE_BYTES_MAX, &expert_bytes))
        return fail(ret_what, "the layer has no expert_bytes of at most 1 TiB");
    if (expert_bytes == 0)
        return fail(ret_what, "an expert of 0 bytes");
    if (take_text(&at, " dense_bytes=") && !take_number(&at, ROUTE_BYTES_MAX, &dense_bytes))
        return fail(ret_what, "dense_bytes are not a number of at most 1 TiB");
    if (reader->trace.layers[index].expert_bytes > 0)
        return fail(ret_what, "the layer is described twice");
    reader->trace.layers[index] =
        (struct route_layer){.expert_bytes = expert_bytes, .dense_bytes = dense_bytes};
    if (index >= reader->trace.n_layers)
        reader->trace.n_layers = (uint32_t)index + 1;
    return 0;
}

static int add_pass(struct reader *reader, uint32_t layer)
{
    struct route_trace *trace = &reader->trace;
    struct route_pass *passes =
        grow(trace->passes, trace->n_passes, &reader->passes_size, sizeof *trace->passes);

    if (!passes)
        return -ENOMEM;
    trace->passes = passes;
    passes[trace->n_passes++] = (struct route_pass){layer, trace->n_uses, 0};
    return 0;
}

static int add_use(struct reader *reader, uint32_t layer, uint32_t expert, const char **ret_what)
{
    struct route_trace *trace = &reader->trace;
    struct route_pass *pass = &trace->passes[trace->n_passes - 1];

    for (uint32_t i = pass->first; i < trace->n_uses; i++)
        if (trace->uses[i] == expert)
            return fail(ret_what, "the same token uses this expert twice");
    if (pass->n == ROUTE_PASS_MAX || trace->n_uses == ROUTE_USES_MAX)
        return fail(ret_what, "too many experts");
    uint32_t *uses = grow(trace->uses, trace->n_uses, &reader->uses_size, sizeof *trace->uses);
    if (!uses)
        return -ENOMEM;
    trace->uses = uses;
    uses[trace->n_uses++] = expert;
    pass->n++;
    if (expert >= trace->layers[layer].n_experts)
        trace->layers[layer].n_experts = expert + 1;
    return 0;
}

static int read_row(struct reader *reader, const char *at, const char **ret_what)
{
    struct route_trace *trace = &reader->trace;
    uint64_t row[COLUMNS];

    for (int i = 0; i < COLUMNS; i++)
        if ((i > 0 && !take_text(&at, ",")) || !take_number(&at, INT64_MAX, &row[i]))
            return fail(ret_what, "a row begins with turn,phase,step,layer,slot,expert");
    if (row[COLUMN_LAYER] >= trace->n_layers || trace->layers[row[COLUMN_LAYER]].expert_bytes == 0)
        return fail(ret_what, "an unknown layer: no line '# layer=' describes it");
    if (row[COLUMN_EXPERT] >= ROUTE_EXPERTS_MAX)
        return fail(ret_what, "an expert is a number below 4096");
    if (row[COLUMN_PHASE] != PHASE_DECODE)
        return 0;
    bool is_first = !reader->has_step;
    bool is_new = is_first || row[COLUMN_TURN] != reader->turn || row[COLUMN_STEP] != reader->step;
    reader->has_step = true;
    reader->turn = row[COLUMN_TURN];
    reader->step = row[COLUMN_STEP];
    if (is_first || (!is_new && trace->n_steps == 0))
        return 0;
    trace->n_steps += is_new;
    uint32_t layer = (uint32_t)row[COLUMN_LAYER];
    int r =
        is_new || trace->passes[trace->n_passes - 1].layer != layer ? add_pass(reader, layer) : 0;
    return r < 0 ? r : add_use(reader, layer, (uint32_t)row[COLUMN_EXPERT], ret_what);
}

static int read_line(struct reader *reader, const char *line, const char **ret_what)
{
    const char *at = line;

    if (take_text(&at, "# layer="))
        return read_layer(reader, at, ret_what);
    if (*line == '#' || *line == '\n' || *line == '\r' || strncmp(line, "turn,", 5) == 0)
        return 0;
    return read_row(reader, line, ret_what);
}

static int check_whole(const struct route_trace *trace, const char **ret_what)
{
    uint64_t n_experts = 0;

    for (uint32_t i = 0; i < trace->n_layers; i++)
        n_experts += trace->layers[i].n_experts;
    if (n_experts > EXPECTED_USE_UNITS_MAX)
        return fail(ret_what, "it has more than 1000000 experts");
    if (trace->n_uses == 0)
        return fail(ret_what, "it has no second step of decoding (phase 1)");
    return 0;
}

int route_trace_read(FILE *file, struct route_trace *ret, struct route_failure *ret_failure)
{
    _cleanup_(route_trace_done) struct route_trace empty = {0};
    struct reader reader = {.trace.layers = calloc(ROUTE_LAYERS_MAX, sizeof(struct route_layer))};
    char line[LINE_MAX_BYTES];
    int r = reader.trace.layers ? 0 : -ENOMEM;

    *ret_failure = (struct route_failure){0};
    while (r == 0 && fgets(line, sizeof line, file)) {
        ret_failure->line++;
        if (!strchr(line, '\n') && !feof(file))
            r = fail(&ret_failure->what, "the line is too long");
        else
            r = read_line(&reader, line, &ret_failure->what);
    }
    if (r == 0 && ferror(file))
        r = -EIO;
    if (r == 0) {
        ret_failure->line = 0;
        r = check_whole(&reader.trace, &ret_failure->what);
    }
    *(r == 0 ? ret : &empty) = reader.trace;
    return r;
}

void route_trace_done(struct route_trace *trace)
{
    free(trace->layers);
    free(trace->passes);
    free(trace->uses);
}
