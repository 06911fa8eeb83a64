/* The table of units: each layer, and its groups of units. */
#include "client/emctl/output.h"

#include "client/emctl/table.h"
#include "common/cleanup.h"

#include <errno.h>
#include <libsmartcols.h>

static const struct table_column columns[] = {
    {"LAYER / UNITS", SCOLS_FL_TRUNC},
    {"UNITS", SCOLS_FL_RIGHT},
    {"EACH", SCOLS_FL_RIGHT},
    {"SIZE", SCOLS_FL_RIGHT},
    {"KIND", 0},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static int add_group(struct libscols_table *table, json_t *group)
{
    const char *kind, *name, *uncut = "";
    json_int_t units, tensors, unit_bytes, bytes;
    char number[NUMBER_TEXT_MAX], sizes[2][SIZE_TEXT_MAX];
    _cleanup_(freep) char *indented = NULL, *described = NULL;

    if (json_unpack(group, "{s:s, s:s, s:I, s:I, s:I, s:I, s?s}", "kind", &kind, "name", &name,
                    "units", &units, "tensors", &tensors, "unitBytes", &unit_bytes, "bytes", &bytes,
                    "uncut", &uncut) < 0)
        return -EBADMSG;
    int r = tensors > 1
                ? asprintf(&indented, "  %s and %" JSON_INTEGER_FORMAT " more", name, tensors - 1)
                : asprintf(&indented, "  %s", name);
    if (r < 0) {
        indented = NULL;
        return -ENOMEM;
    }
    if (asprintf(&described, *uncut ? "%s, not cut: %s" : "%s", kind, uncut) < 0) {
        described = NULL;
        return -ENOMEM;
    }
    const char *cells[COLUMNS] = {indented, output_number(units, number),
                                  output_size(unit_bytes, sizes[0]), output_size(bytes, sizes[1]),
                                  described};
    return table_add_line(table, cells, COLUMNS, 4, *uncut ? "yellow" : NULL);
}

int output_text_list_units(struct output *output, const struct subject *subject, json_t *layer)
{
    const char *name;
    json_t *groups, *group;
    json_int_t bytes;
    char text[SIZE_TEXT_MAX];
    size_t i;

    (void)subject;
    if (json_unpack(layer, "{s:s, s:I, s:o}", "layer", &name, "bytes", &bytes, "groups", &groups) <
            0 ||
        !json_is_array(groups))
        return -EBADMSG;
    if (table_begin(output, columns, COLUMNS) < 0)
        return -ENOMEM;
    const char *cells[COLUMNS] = {name, "", "", output_size(bytes, text), "layer"};
    int r = table_add_line(output->table, cells, COLUMNS, 0, "bold");
    json_array_foreach (groups, i, group)
        if (r == 0)
            r = add_group(output->table, group);
    return r;
}
