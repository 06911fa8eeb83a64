/* A thin layer over libsmartcols. libsmartcols would shorten names to nothing before it leaves out
 * a column; this file leaves out columns earlier. */
#include "client/emctl/table.h"

#include "client/emctl/text_columns.h"

#include <errno.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

struct libscols_table *table_new(const struct output *output, const struct table_column *columns,
                                 size_t n_columns)
{
    struct libscols_table *table = scols_new_table();

    if (!table)
        return NULL;
    for (size_t i = 0; i < n_columns; i++)
        if (!scols_table_new_column(table, columns[i].name, 0, columns[i].flags)) {
            scols_unref_table(table);
            return NULL;
        }
    scols_table_set_stream(table, output->stream);
    scols_table_enable_colors(table, output->color);
    if (output->width > 0)
        scols_table_set_termwidth(table, output->width);
    scols_table_set_termforce(table,
                              output->width > 0 ? SCOLS_TERMFORCE_ALWAYS : SCOLS_TERMFORCE_NEVER);
    return table;
}

int table_begin(struct output *output, const struct table_column *columns, size_t n_columns)
{
    if (!output->table)
        output->table = table_new(output, columns, n_columns);
    return output->table ? 0 : -ENOMEM;
}

static bool is_hidden(struct libscols_table *table, size_t column)
{
    return scols_column_get_flags(scols_table_get_column(table, column)) & SCOLS_FL_HIDDEN;
}

void table_hide(struct libscols_table *table, size_t column)
{
    struct libscols_column *hidden = scols_table_get_column(table, column);
    scols_column_set_flags(hidden, scols_column_get_flags(hidden) | SCOLS_FL_HIDDEN);
}

int table_add_line(struct libscols_table *table, const char *const *cells, size_t n_cells,
                   size_t colored, const char *color)
{
    struct libscols_line *line = scols_table_new_line(table, NULL);

    if (!line)
        return -ENOMEM;
    for (size_t i = 0; i < n_cells; i++)
        if (scols_line_set_data(line, i, cells[i]) < 0)
            return -ENOMEM;
    if (color && scols_cell_set_color(scols_line_get_cell(line, colored), color) < 0)
        return -ENOMEM;
    return 0;
}

/* The width that each column needs. For names this is a width at which most of them still differ. 0
 * or -ENOMEM. */
static int measure(struct libscols_table *table, size_t n_columns, size_t *widths)
{
    enum { NAME_COLUMNS = 16 };
    struct libscols_iter *iterator = scols_new_iter(SCOLS_ITER_FORWARD);
    struct libscols_line *line;

    if (!iterator)
        return -ENOMEM;
    for (size_t i = 0; i < n_columns; i++)
        widths[i] = strlen(scols_column_get_name(scols_table_get_column(table, i)));
    while (scols_table_next_line(table, iterator, &line) == 0)
        for (size_t i = 0; i < n_columns; i++) {
            size_t n = strlen(scols_cell_get_data(scols_line_get_cell(line, i)));
            if (i == 0 && n > NAME_COLUMNS)
                n = NAME_COLUMNS;
            widths[i] = n > widths[i] ? n : widths[i];
        }
    scols_free_iter(iterator);
    return 0;
}

/* Shortens names that are longer than `room`. 0 or -ENOMEM. */
static int shorten_names(struct libscols_table *table, size_t room)
{
    struct libscols_iter *iterator = scols_new_iter(SCOLS_ITER_FORWARD);
    struct libscols_line *line;

    if (!iterator)
        return -ENOMEM;
    while (scols_table_next_line(table, iterator, &line) == 0) {
        const char *name = scols_cell_get_data(scols_line_get_cell(line, 0));
        _cleanup_(freep) char *shorter =
            text_columns(name) > room ? text_shorten(name, room) : NULL;
        if (shorter)
            scols_line_set_data(line, 0, shorter);
    }
    scols_free_iter(iterator);
    return 0;
}

static int leave_out(const struct output *output, struct libscols_table *table)
{
    size_t widths[TABLE_COLUMNS_MAX], n_columns = scols_table_get_ncols(table), needed = 0;
    int r = measure(table, n_columns, widths);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n_columns; i++)
        needed += is_hidden(table, i) ? 0 : widths[i] + (i > 0);
    for (size_t i = n_columns - 1; i > 1 && needed > output->width; i--)
        if (!is_hidden(table, i)) {
            needed -= widths[i] + 1;
            table_hide(table, i);
        }
    /* The width that the other columns leave. */
    size_t others = needed - widths[0];
    return others < output->width ? shorten_names(table, output->width - others) : 0;
}

int table_print(const struct output *output, struct libscols_table *table)
{
    int r = output->width > 0 ? leave_out(output, table) : 0;

    if (r < 0)
        return r;
    return scols_print_table(table) == -ENOMEM ? -ENOMEM : 0;
}
