/* Tables on standard output: aligned, coloured if wanted, and no wider than the terminal. */
#pragma once

#include "client/emctl/output.h"
#include "common/cleanup.h"

#include <libsmartcols.h>
#include <stddef.h>

/* The name comes first, and the least useful column last. At most TABLE_COLUMNS_MAX of them. */
struct table_column {
    const char *name;
    int flags; /* SCOLS_FL_ */
};

enum { TABLE_COLUMNS_MAX = 10 };

/* NULL when out of memory; owned by the caller (scols_unref_table). */
struct libscols_table *table_new(const struct output *output, const struct table_column *columns,
                                 size_t n_columns);

/* Makes the table of a list, unless an earlier reply has. 0 or -ENOMEM. */
int table_begin(struct output *output, const struct table_column *columns, size_t n_columns);

DEFINE_CLEANUP(struct libscols_table *, scols_unref_table);

/* Leaves a column out. */
void table_hide(struct libscols_table *table, size_t column);

/* Appends a line of texts, which are copied; `color` (or NULL) is that of cell `colored`. 0 or
 * -ENOMEM. */
int table_add_line(struct libscols_table *table, const char *const *cells, size_t n_cells,
                   size_t colored, const char *color);

/* Prints the table. If it is too wide, names are shortened first, and then columns are left out
 * from the right. 0 or -ENOMEM; the stream keeps its own errors. */
int table_print(const struct output *output, struct libscols_table *table);
