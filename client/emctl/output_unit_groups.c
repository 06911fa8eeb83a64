/* The table of a model that is cut into units: a line for each layer of the weights, with what its
 * units have in common, and, unless there are too many to read, a line for each unit. */
#include "client/emctl/output.h"

#include "client/emctl/table.h"
#include "common/clock.h"
#include "common/residency/layer_uses.h"
#include "common/units.h"

#include <errno.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>

enum { UNITS_SHOWN_MAX = 1000, HOT_MAX = 4, HOT_TEXT_MAX = HOT_MAX * 20 };

static const struct table_column columns[] = {
    {"LAYER", SCOLS_FL_TRUNC},     {"UNITS", SCOLS_FL_RIGHT},    {"EACH", SCOLS_FL_RIGHT},
    {"SIZE", SCOLS_FL_RIGHT},      {"RESIDENT", SCOLS_FL_RIGHT}, {"IN ARENA", SCOLS_FL_RIGHT},
    {"LAST USED", SCOLS_FL_RIGHT}, {"USED", SCOLS_FL_RIGHT},     {"HOTTEST", 0},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

/* A layer as List has it. */
struct row {
    const char *name, *state;
    json_int_t bytes, used_at_usec; /* 0: unknown */
    int used_percent;               /* at most 100; -1: unknown */
    bool is_resident, is_unit;
    size_t n_base; /* bytes of the name without the unit's number */
};

static int read_row(json_t *layer, struct row *row)
{
    *row = (struct row){.used_percent = -1};
    if (json_unpack(layer, "{s:s, s:s, s:I, s?I, s?i}", "name", &row->name, "state", &row->state,
                    "bytes", &row->bytes, "usedAtUsec", &row->used_at_usec, "usedPercent",
                    &row->used_percent) < 0 ||
        row->used_percent > 100)
        return -EBADMSG;
    row->is_resident = strcmp(row->state, "resident") == 0;
    row->is_unit = layer_is_unit(row->name);
    row->n_base = row->is_unit ? (size_t)(strrchr(row->name, ':') - row->name) : strlen(row->name);
    return 0;
}

static const char *age_of(json_int_t at_usec, char text[static DURATION_TEXT_MAX])
{
    json_int_t now_usec = (json_int_t)clock_realtime_usec();

    if (at_usec <= 0)
        return "";
    /* Whole seconds: what a person reads is older than that. */
    uint64_t age_sec = now_usec > at_usec ? (uint64_t)(now_usec - at_usec) / 1000000 : 0;
    if (age_sec < 60)
        snprintf(text, DURATION_TEXT_MAX, "%d s ago", (int)age_sec);
    else
        strcat(duration_format(age_sec * 1000000, text), " ago");
    return text;
}

static bool is_hotter(const struct row *a, const struct row *b)
{
    return a->used_percent > b->used_percent ||
           (a->used_percent == b->used_percent && a->used_at_usec > b->used_at_usec);
}

/* The units that were used most often lately, and of those the ones that were used last. */
static const char *name_hottest(const struct row *rows, size_t n, char text[static HOT_TEXT_MAX])
{
    const struct row *hot[HOT_MAX + 1]; /* one more is dropped each time */
    size_t n_hot = 0, n_text = 0;

    for (size_t i = 0; i < n; i++) {
        size_t at = n_hot;
        if (rows[i].used_at_usec <= 0)
            continue;
        for (; at > 0 && is_hotter(&rows[i], hot[at - 1]); at--)
            hot[at] = hot[at - 1];
        hot[at] = &rows[i];
        n_hot += n_hot < HOT_MAX;
    }
    text[0] = '\0';
    for (size_t i = 0; i < n_hot; i++) {
        n_text += (size_t)snprintf(text + n_text, HOT_TEXT_MAX - n_text, "%s%.10s",
                                   i > 0 ? ", " : "", hot[i]->name + hot[i]->n_base + 1);
        if (hot[i]->used_percent >= 0)
            n_text += (size_t)snprintf(text + n_text, HOT_TEXT_MAX - n_text, " %d %%",
                                       hot[i]->used_percent);
    }
    return text;
}

static int add_row(struct libscols_table *table, const struct row *row)
{
    char size[SIZE_TEXT_MAX], age[DURATION_TEXT_MAX], name[DURATION_TEXT_MAX], used[16] = "";

    if (row->is_unit && row->used_percent >= 0)
        snprintf(used, sizeof used, "%d %%", row->used_percent);
    snprintf(name, sizeof name, "  %.20s", row->name + row->n_base + row->is_unit);
    const char *cells[COLUMNS] = {row->is_unit ? name : row->name,
                                  "",
                                  "",
                                  output_size(row->bytes, size),
                                  row->is_resident ? "yes" : "",
                                  row->is_resident && !row->is_unit ? size : "",
                                  age_of(row->used_at_usec, age),
                                  used,
                                  ""};
    return table_add_line(table, cells, COLUMNS, 0, row->is_unit ? NULL : "bold");
}

/* The rows of one layer's units. */
static int add_group(struct libscols_table *table, const struct row *rows, size_t n,
                     bool shows_units)
{
    json_int_t bytes = 0, unit_bytes = 0, n_resident = 0, resident_bytes = 0, used_at_usec = 0;
    char name[256], numbers[2][NUMBER_TEXT_MAX], sizes[3][SIZE_TEXT_MAX];
    char age[DURATION_TEXT_MAX], hottest[HOT_TEXT_MAX];

    for (size_t i = 0; i < n; i++) {
        bytes += rows[i].bytes;
        unit_bytes = unit_bytes > rows[i].bytes ? unit_bytes : rows[i].bytes;
        n_resident += rows[i].is_resident;
        resident_bytes += rows[i].is_resident ? rows[i].bytes : 0;
        used_at_usec = used_at_usec > rows[i].used_at_usec ? used_at_usec : rows[i].used_at_usec;
    }
    snprintf(name, sizeof name, "%.*s", (int)rows->n_base, rows->name);
    const char *cells[COLUMNS] = {name,
                                  output_number((json_int_t)n, numbers[0]),
                                  output_size(unit_bytes, sizes[0]),
                                  output_size(bytes, sizes[1]),
                                  output_number(n_resident, numbers[1]),
                                  output_size(resident_bytes, sizes[2]),
                                  age_of(used_at_usec, age),
                                  "",
                                  name_hottest(rows, n, hottest)};
    int r = table_add_line(table, cells, COLUMNS, 0, "bold");
    for (size_t i = 0; shows_units && i < n && r == 0; i++)
        r = add_row(table, &rows[i]);
    return r;
}

static bool are_together(const struct row *a, const struct row *b)
{
    return a->is_unit && b->is_unit && a->n_base == b->n_base &&
           memcmp(a->name, b->name, a->n_base) == 0;
}

int output_text_list_unit_groups(struct output *output, const struct subject *subject,
                                 json_t *layers)
{
    size_t n = json_array_size(layers), n_units = 0;
    _cleanup_(freep) struct row *rows = calloc(n + 1, sizeof *rows);
    int r = rows ? table_begin(output, columns, COLUMNS) : -ENOMEM;

    (void)subject;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = read_row(json_array_get(layers, i), &rows[i]);
        n_units += rows[i].is_unit;
    }
    for (size_t i = 0, end; i < n && r == 0; i = end) {
        end = i + 1;
        while (end < n && are_together(&rows[i], &rows[end]))
            end++;
        r = rows[i].is_unit
                ? add_group(output->table, &rows[i], end - i, n_units <= UNITS_SHOWN_MAX)
                : add_row(output->table, &rows[i]);
    }
    return r;
}
