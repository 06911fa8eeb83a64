/* The table of several hosts' statistics. */
#include "client/emctl/output.h"

#include "client/emctl/table.h"

#include <errno.h>
#include <libsmartcols.h>

static const struct table_column columns[] = {
    {"HOST", SCOLS_FL_TRUNC}, {"USED", SCOLS_FL_RIGHT},   {"CAPACITY", SCOLS_FL_RIGHT},
    {"RSS", SCOLS_FL_RIGHT},  {"MODELS", SCOLS_FL_RIGHT}, {"LAYERS", SCOLS_FL_RIGHT},
    {"HITS", SCOLS_FL_RIGHT}, {"MISSES", SCOLS_FL_RIGHT}, {"EVICTIONS", SCOLS_FL_RIGHT},
    {"ALIGNED", 0},
};
enum { COLUMNS = sizeof columns / sizeof *columns };
_Static_assert((int)COLUMNS <= (int)TABLE_COLUMNS_MAX, "a table can have that many columns");

static int add_stats(struct libscols_table *table, const char *host, json_t *stats)
{
    json_int_t used, capacity, rss, models, layers, hits, misses, evictions;
    char sizes[3][SIZE_TEXT_MAX], numbers[5][NUMBER_TEXT_MAX];
    int aligned;

    if (json_unpack(stats, "{s:{s:I, s:I}, s:{s:I, s:I, s:I, s:I, s:I}, s:{s:I, s:b}}", "arena",
                    "usedBytes", &used, "capacityBytes", &capacity, "scheduler", "models", &models,
                    "layersLoaded", &layers, "hits", &hits, "misses", &misses, "evictions",
                    &evictions, "monitor", "rssBytes", &rss, "aligned", &aligned) < 0)
        return -EBADMSG;
    const char *cells[COLUMNS] = {host,
                                  output_size(used, sizes[0]),
                                  output_size(capacity, sizes[1]),
                                  output_size(rss, sizes[2]),
                                  output_number(models, numbers[0]),
                                  output_number(layers, numbers[1]),
                                  output_number(hits, numbers[2]),
                                  output_number(misses, numbers[3]),
                                  output_number(evictions, numbers[4]),
                                  aligned ? "yes" : "NO"};
    return table_add_line(table, cells, COLUMNS, COLUMNS - 1, aligned ? "green" : "red");
}

int output_text_host(struct output *output, const struct subject *subject, json_t *host)
{
    const char *name, *error = NULL;
    json_t *stats = NULL;

    (void)subject;
    if (json_unpack(host, "{s:s, s?o, s?s}", "host", &name, "stats", &stats, "error", &error) < 0)
        return -EBADMSG;
    if (table_begin(output, columns, COLUMNS) < 0)
        return -ENOMEM;
    if (stats)
        return add_stats(output->table, name, stats);
    const char *cells[] = {name, "-", "-", "-", "-", "-", "-", "-", "-", "unreachable"};
    return table_add_line(output->table, cells, COLUMNS, COLUMNS - 1, "red");
}

int output_text_hosts_end(struct output *output, const struct subject *subject, json_t *nothing)
{
    (void)subject;
    (void)nothing;
    return output->table ? table_print(output, output->table) : 0;
}
