/* Shows a plan: the load in one line, the passes of a run, and a comparison of policies.
 * output_tables.c shows the steps of the load as a table.
 *
 * A run is summed up by the mean over the second half of its passes, because the first passes still
 * depend on what the load left in the arena. */
#include "client/emctl/output.h"

#include "client/emctl/table.h"
#include "common/cleanup.h"

#include <errno.h>
#include <libsmartcols.h>
#include <math.h>
#include <string.h>

/* The load in one line, without counts that are zero. */
struct load_request {
    const char *model, *policy;
    json_int_t capacity, loaded, hits, must_unload, out_of_memory, busy, evictions, flushes,
        resident;
};

static int parse_load(json_t *reply, struct load_request *load)
{
    return json_unpack(reply, "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "model",
                       &load->model, "policy", &load->policy, "capacityBytes", &load->capacity,
                       "hits", &load->hits, "loaded", &load->loaded, "mustUnload",
                       &load->must_unload, "outOfMemory", &load->out_of_memory, "busy", &load->busy,
                       "evictions", &load->evictions, "flushes", &load->flushes, "resident",
                       &load->resident) < 0
               ? -EBADMSG
               : 0;
}

static void print_load(const struct output *output, const struct load_request *load)
{
    const struct {
        json_int_t n;
        const char *one, *many;
    } counts[] = {
        {load->loaded, "loaded", "loaded"},
        {load->hits, "hit", "hits"},
        {load->must_unload, "must-unload", "must-unload"},
        {load->out_of_memory, "out-of-memory", "out-of-memory"},
        {load->busy, "busy", "busy"},
        {load->evictions, "eviction", "evictions"},
        {load->flushes, "flush", "flushes"},
        {load->resident, "resident at the end", "resident at the end"},
    };
    const char *before = ": ";

    fputs(load->policy, output->stream);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (counts[i].n == 0)
            continue;
        fprintf(output->stream, "%s%" JSON_INTEGER_FORMAT " %s", before, counts[i].n,
                counts[i].n == 1 ? counts[i].one : counts[i].many);
        before = ", ";
    }
    fputc('\n', output->stream);
}

int output_text_plan(struct output *output, const struct subject *subject, json_t *reply)
{
    struct load_request load;
    char text[SIZE_TEXT_MAX];
    int r = parse_load(reply, &load);

    if (r == 0)
        r = output_text_plan_steps(output, subject, reply);
    if (r < 0)
        return r;
    fprintf(output->stream, "%s into %s, ", load.model, output_size(load.capacity, text));
    print_load(output, &load);
    json_int_t views = json_integer_value(json_object_get(reply, "views"));
    if (views > 0)
        fprintf(output->stream, "views of it now: %" JSON_INTEGER_FORMAT ", whose layers stay\n",
                views);
    return 0;
}

struct pass {
    json_int_t hits, loaded, bytes, evictions, flushes;
    json_int_t usec; /* -1: not foreseen */
};

static int parse_pass(json_t *json, struct pass *pass)
{
    const json_t *usec = json_object_get(json, "usec");

    pass->usec = json_is_integer(usec) ? json_integer_value(usec) : -1;
    return json_unpack(json, "{s:I, s:I, s:I, s:I, s:I}", "hits", &pass->hits, "loaded",
                       &pass->loaded, "bytesLoaded", &pass->bytes, "evictions", &pass->evictions,
                       "flushes", &pass->flushes) < 0
               ? -EBADMSG
               : 0;
}

static bool is_same(const struct pass *a, const struct pass *b)
{
    return a->hits == b->hits && a->loaded == b->loaded && a->bytes == b->bytes &&
           a->evictions == b->evictions && a->flushes == b->flushes && a->usec == b->usec;
}

enum { SHARE_TEXT_MAX = 32 };

static const char *share(double hits, double loaded, char text[static SHARE_TEXT_MAX])
{
    snprintf(text, SHARE_TEXT_MAX, "%.1f%%", hits + loaded > 0 ? 100 * hits / (hits + loaded) : 0);
    return text;
}

/* The least useful column is last. A run without times has no column of times. */
static const struct table_column pass_columns[] = {
    {"PASS", 0},
    {"HIT-RATE", SCOLS_FL_RIGHT},
    {"READ", SCOLS_FL_RIGHT},
    {"TIME", SCOLS_FL_RIGHT},
    {"HITS", SCOLS_FL_RIGHT},
    {"LOADED", SCOLS_FL_RIGHT},
    {"EVICTIONS", SCOLS_FL_RIGHT},
    {"FLUSHES", SCOLS_FL_RIGHT},
};
enum { PASS_COLUMNS = sizeof pass_columns / sizeof *pass_columns, TIME_COLUMN = 3 };

/* The passes `first` to `last`, counted from 1, which are all equal. */
static int add_passes(struct libscols_table *table, size_t first, size_t last,
                      const struct pass *pass)
{
    char name[2 * NUMBER_TEXT_MAX], rate[SHARE_TEXT_MAX], bytes[SIZE_TEXT_MAX],
        time[DURATION_TEXT_MAX], texts[4][NUMBER_TEXT_MAX];

    snprintf(name, sizeof name, first < last ? "%zu-%zu" : "%zu", first, last);
    const char *cells[PASS_COLUMNS] = {
        name,
        share((double)pass->hits, (double)pass->loaded, rate),
        output_size(pass->bytes, bytes),
        pass->usec >= 0 ? duration_format((uint64_t)pass->usec, time) : "-",
        output_number(pass->hits, texts[0]),
        output_number(pass->loaded, texts[1]),
        output_number(pass->evictions, texts[2]),
        output_number(pass->flushes, texts[3]),
    };
    return table_add_line(table, cells, PASS_COLUMNS, 0, NULL);
}

/* Consecutive equal passes share a line. */
static int add_run(struct libscols_table *table, json_t *passes)
{
    size_t first = 1, n_passes = json_array_size(passes);
    struct pass pass, before = {0};
    bool timed = false;

    for (size_t i = 1; i <= n_passes; i++) {
        if (parse_pass(json_array_get(passes, i - 1), &pass) < 0)
            return -EBADMSG;
        if (i > first && !is_same(&pass, &before)) {
            if (add_passes(table, first, i - 1, &before) < 0)
                return -ENOMEM;
            first = i;
        }
        timed |= pass.usec >= 0;
        before = pass;
    }
    if (!timed)
        table_hide(table, TIME_COLUMN);
    return add_passes(table, first, n_passes, &before);
}

static int print_run(const struct output *output, json_t *passes)
{
    _cleanup_(scols_unref_tablep) struct libscols_table *table =
        table_new(output, pass_columns, PASS_COLUMNS);
    int r = table ? add_run(table, passes) : -ENOMEM;

    return r == 0 ? table_print(output, table) : r;
}

/* Means per pass over the second half of a run. */
struct mean {
    size_t first, last; /* its passes, counted from 1; last is 0: there is no run */
    double hits, loaded, bytes;
    double usec; /* -1: not foreseen */
};

static int parse_mean(json_t *reply, struct mean *ret)
{
    json_t *passes = json_object_get(reply, "passes");
    size_t n_passes = json_array_size(passes);
    struct mean mean = {.first = n_passes / 2 + 1, .last = n_passes};
    double n = (double)(n_passes - n_passes / 2);
    struct pass pass;

    if (!json_is_array(passes))
        return -EBADMSG;
    for (size_t i = n_passes / 2; i < n_passes; i++) {
        if (parse_pass(json_array_get(passes, i), &pass) < 0)
            return -EBADMSG;
        mean.hits += (double)pass.hits / n;
        mean.loaded += (double)pass.loaded / n;
        mean.bytes += (double)pass.bytes / n;
        mean.usec = pass.usec < 0 || mean.usec < 0 ? -1 : mean.usec + (double)pass.usec / n;
    }
    *ret = mean;
    return 0;
}

/* As text: bytes per pass, time per pass ("-" if it is not predicted) and passes per second. */
struct mean_text {
    char share[SHARE_TEXT_MAX], bytes[SIZE_TEXT_MAX], time[DURATION_TEXT_MAX], pace[32];
};

static void format_mean(const struct mean *mean, struct mean_text *ret)
{
    double pace = mean->usec > 0 ? 1e6 / mean->usec : 0;

    share(mean->hits, mean->loaded, ret->share);
    output_size(mean->bytes < 9e18 ? (json_int_t)(mean->bytes + 0.5) : INT64_MAX, ret->bytes);
    strcpy(ret->time, "-");
    strcpy(ret->pace, "-");
    if (mean->usec >= 0)
        duration_format((uint64_t)(mean->usec + 0.5), ret->time);
    if (pace > 0)
        snprintf(ret->pace, sizeof ret->pace, "%.*f",
                 pace < 0.1  ? 4
                 : pace < 10 ? 2
                             : (pace < 100),
                 pace);
}

static void print_which(const struct output *output, const struct mean *mean)
{
    if (mean->first < mean->last)
        fprintf(output->stream, "mean of passes %zu to %zu", mean->first, mean->last);
    else
        fprintf(output->stream, "pass %zu", mean->last);
}

/* "; assumed: 500.0 MiB/s from the disk, 20.0 ms of computing a pass". Nothing without times. */
static void print_assumed(const struct output *output, json_t *reply)
{
    const json_t *rate = json_object_get(reply, "diskBytesPerSecond");
    const json_t *compute = json_object_get(reply, "computeUsec");
    json_int_t usec = json_integer_value(compute);
    char text[SIZE_TEXT_MAX], time[DURATION_TEXT_MAX];

    if (!json_is_integer(rate))
        return;
    fprintf(output->stream, "; assumed: %s/s from the disk",
            output_size(json_integer_value(rate), text));
    if (usec > 0)
        fprintf(output->stream, ", %s of computing a pass", duration_format((uint64_t)usec, time));
}

#define NO_RUN "no run: the load would be refused\n"

int output_text_plan_passes(struct output *output, const struct subject *subject, json_t *reply)
{
    struct mean mean;
    struct mean_text text;
    int r = parse_mean(reply, &mean);

    (void)subject;
    if (r < 0)
        return r;
    fputc('\n', output->stream);
    if (mean.last == 0) {
        fputs(NO_RUN, output->stream);
        return 0;
    }
    r = print_run(output, json_object_get(reply, "passes"));
    if (r < 0)
        return r;
    format_mean(&mean, &text);
    print_which(output, &mean);
    fprintf(output->stream, ": %s hits, %s read", text.share, text.bytes);
    if (mean.usec >= 0)
        fprintf(output->stream, ", %s, %s passes/s", text.time, text.pace);
    print_assumed(output, reply);
    fputc('\n', output->stream);
    return 0;
}

int output_text_plan_policy(struct output *output, const struct subject *subject, json_t *reply)
{
    json_t *passes = json_object_get(reply, "passes");
    struct load_request load;
    int r = parse_load(reply, &load);

    (void)subject;
    if (!json_is_array(passes))
        r = -EBADMSG;
    if (r < 0)
        return r;
    print_load(output, &load);
    if (json_array_size(passes) > 0)
        r = print_run(output, passes);
    else
        fputs(NO_RUN, output->stream);
    fputc('\n', output->stream);
    return r;
}

static const struct table_column policy_columns[] = {
    {"POLICY", 0},
    {"HITS", SCOLS_FL_RIGHT},
    {"READ/PASS", SCOLS_FL_RIGHT},
    {"TIME/PASS", SCOLS_FL_RIGHT},
    {"PASSES/S", SCOLS_FL_RIGHT},
};
enum { POLICY_COLUMNS = sizeof policy_columns / sizeof *policy_columns };

struct foreseen {
    struct load_request load;
    struct mean mean;
};

/* The figure by which policies are compared: the time if it is predicted, otherwise the bytes. */
static double cost(const struct foreseen *foreseen)
{
    const struct mean *mean = &foreseen->mean;

    if (mean->last == 0)
        return INFINITY;
    return mean->usec >= 0 ? mean->usec : mean->bytes;
}

static int print_policies(const struct output *output, const struct foreseen *policies,
                          size_t n_policies, double best)
{
    _cleanup_(scols_unref_tablep) struct libscols_table *table =
        table_new(output, policy_columns, POLICY_COLUMNS);
    bool timed = false;

    if (!table)
        return -ENOMEM;
    for (size_t i = 0; i < n_policies; i++) {
        struct mean_text text;
        format_mean(&policies[i].mean, &text);
        const char *cells[POLICY_COLUMNS] = {policies[i].load.policy, text.share, text.bytes,
                                             text.time, text.pace};
        bool is_best = cost(&policies[i]) == best; /* computed alike, so equal to the last bit */
        if (table_add_line(table, cells, POLICY_COLUMNS, 0, is_best ? "green" : NULL) < 0)
            return -ENOMEM;
        timed |= policies[i].mean.usec >= 0;
    }
    for (size_t i = 3; i < POLICY_COLUMNS && !timed; i++)
        table_hide(table, i);
    return table_print(output, table);
}

/* "ffn10 into 50.0 MiB, mean of passes 3 to 5; best: next-use" */
static void print_best(const struct output *output, const struct foreseen *policies,
                       size_t n_policies, double best, json_t *reply)
{
    char text[SIZE_TEXT_MAX];
    const char *before = "; best: ";
    size_t n_best = 0;

    for (size_t i = 0; i < n_policies; i++)
        n_best += cost(&policies[i]) == best;
    fprintf(output->stream, "%s into %s, ", policies[0].load.model,
            output_size(policies[0].load.capacity, text));
    print_which(output, &policies[0].mean);
    if (n_best == n_policies)
        fputs("; all are as good", output->stream);
    for (size_t i = 0; i < n_policies && n_best < n_policies; i++) {
        if (cost(&policies[i]) != best)
            continue;
        fprintf(output->stream, "%s%s", before, policies[i].load.policy);
        before = ", ";
    }
    print_assumed(output, reply);
    fputc('\n', output->stream);
}

int output_text_plan_comparison(struct output *output, const struct subject *subject,
                                json_t *replies)
{
    size_t n_policies = json_array_size(replies);
    _cleanup_(freep) struct foreseen *policies = calloc(n_policies + 1, sizeof *policies);
    double best = INFINITY;

    (void)subject;
    if (!policies)
        return -ENOMEM;
    for (size_t i = 0; i < n_policies; i++) {
        json_t *reply = json_array_get(replies, i);
        if (parse_load(reply, &policies[i].load) < 0 || parse_mean(reply, &policies[i].mean) < 0)
            return -EBADMSG;
        best = cost(&policies[i]) < best ? cost(&policies[i]) : best;
    }
    if (n_policies == 0 || policies[0].mean.last == 0)
        return 0; /* each has said that it would be refused */
    int r = print_policies(output, policies, n_policies, best);
    if (r == 0)
        print_best(output, policies, n_policies, best, json_array_get(replies, 0));
    return r;
}
