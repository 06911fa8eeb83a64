/* The table of views. */
#include "client/emctl/output.h"

#include "client/emctl/table.h"
#include "client/library/error_text.h"

#include <errno.h>
#include <libsmartcols.h>

static const struct table_column columns[] = {
    {"PROGRAM", SCOLS_FL_TRUNC}, {"PID", SCOLS_FL_RIGHT},
    {"MODEL", SCOLS_FL_TRUNC},   {"HELD", SCOLS_FL_RIGHT},
    {"SIZE", SCOLS_FL_RIGHT},    {"FAULTS", SCOLS_FL_RIGHT},
    {"READ", SCOLS_FL_RIGHT},    {"USER", 0},
    {"HITS", SCOLS_FL_RIGHT},    {"OUTSIDE", SCOLS_FL_RIGHT},
};
enum { COLUMNS = sizeof columns / sizeof *columns };
_Static_assert((int)COLUMNS <= (int)TABLE_COLUMNS_MAX, "a table can have that many columns");

static int add_view(struct libscols_table *table, json_t *view)
{
    const char *program, *model;
    json_int_t pid, bytes, outside, held, faults, hits, read;
    char numbers[3][NUMBER_TEXT_MAX], sizes[4][SIZE_TEXT_MAX], user[USER_NAME_MAX];

    if (json_unpack(view, "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "program", &program,
                    "model", &model, "pid", &pid, "bytes", &bytes, "outsideBytes", &outside,
                    "heldBytes", &held, "faults", &faults, "hits", &hits, "readBytes", &read) < 0)
        return -EBADMSG;
    const char *named = error_text_user(view, user);
    const char *cells[COLUMNS] = {program,
                                  output_number(pid, numbers[0]),
                                  model,
                                  output_size(held, sizes[0]),
                                  output_size(bytes, sizes[1]),
                                  output_number(faults, numbers[1]),
                                  output_size(read, sizes[2]),
                                  named ? named : "?",
                                  output_number(hits, numbers[2]),
                                  output_size(outside, sizes[3])};
    return table_add_line(table, cells, COLUMNS, 3, held > 0 ? "green" : NULL);
}

int output_text_views(struct output *output, const struct subject *subject, json_t *reply)
{
    json_t *rows = json_object_get(reply, "views"), *row;
    json_int_t more = json_integer_value(json_object_get(reply, "total"));
    size_t i;
    int r = 0;

    (void)subject;
    if (!json_is_array(rows))
        return -EBADMSG;
    if (json_array_size(rows) == 0) {
        fputs("no views; 'emctl exec -- COMMAND' runs a program with views\n", output->stream);
        return 0;
    }
    _cleanup_(scols_unref_tablep) struct libscols_table *table =
        table_new(output, columns, COLUMNS);
    if (!table)
        return -ENOMEM;
    json_array_foreach (rows, i, row)
        if (r == 0)
            r = add_view(table, row);
    if (r == 0)
        r = table_print(output, table);
    more -= (json_int_t)json_array_size(rows);
    if (r == 0 && more > 0)
        fprintf(output->stream, "and %" JSON_INTEGER_FORMAT " more\n", more);
    return r;
}
