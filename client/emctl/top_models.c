/* The table of models of emctl top. */
#include "client/emctl/output.h"
#include "client/emctl/text_columns.h"
#include "client/emctl/top_draw.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <curses.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_COLUMNS_MIN = 12, NAME_COLUMNS_MAX = 48, CELL_TEXT_MAX = 48 };

const char *top_sort_name(enum top_sort sort)
{
    static const char *const names[TOP_SORTS] = {"resident", "hits",     "misses",
                                                 "read",     "last use", "name"};
    return names[sort];
}

bool top_shows(const struct top_look *look, const char *model)
{
    return strcasestr(model, look->filter) != NULL;
}

static int compare_numbers(json_int_t a, json_int_t b)
{
    return (a < b) - (a > b); /* the largest first */
}

static int compare(const void *left, const void *right, void *context)
{
    const struct top_model *a = *(const struct top_model *const *)left;
    const struct top_model *b = *(const struct top_model *const *)right;
    int order = 0;

    switch (*(const enum top_sort *)context) {
    case TOP_SORT_RESIDENT:
        order = compare_numbers(a->resident_bytes, b->resident_bytes);
        break;
    case TOP_SORT_HITS:
        order = compare_numbers(a->hits, b->hits);
        break;
    case TOP_SORT_MISSES:
        order = compare_numbers(a->misses, b->misses);
        break;
    case TOP_SORT_READ:
        order = compare_numbers(a->loaded_bytes, b->loaded_bytes);
        break;
    case TOP_SORT_USED:
        order = compare_numbers(a->used_at_usec, b->used_at_usec);
        break;
    case TOP_SORT_NAME:
    case TOP_SORTS:
        break;
    }
    return order != 0 ? order : strcmp(a->name, b->name);
}

/* A count in at most seven columns. */
static void show_count(json_int_t n, char text[static CELL_TEXT_MAX])
{
    if (n < 10000000)
        snprintf(text, CELL_TEXT_MAX, "%" JSON_INTEGER_FORMAT, n);
    else
        snprintf(text, CELL_TEXT_MAX, "%.3g", (double)n);
}

/* "now", "12 s", "3 min", "5 h", "2 d". */
static void show_age(json_int_t at_usec, char text[static CELL_TEXT_MAX])
{
    json_int_t seconds = ((json_int_t)clock_realtime_usec() - at_usec) / 1000000;

    if (at_usec == 0)
        snprintf(text, CELL_TEXT_MAX, "-");
    else if (seconds < 1)
        snprintf(text, CELL_TEXT_MAX, "now");
    else if (seconds < 60)
        snprintf(text, CELL_TEXT_MAX, "%d s", (int)seconds);
    else if (seconds < 3600)
        snprintf(text, CELL_TEXT_MAX, "%d min", (int)(seconds / 60));
    else if (seconds < 2 * 86400)
        snprintf(text, CELL_TEXT_MAX, "%d h", (int)(seconds / 3600));
    else
        snprintf(text, CELL_TEXT_MAX, "%" JSON_INTEGER_FORMAT " d", seconds / 86400);
}

static void show_layers(const struct top_model *model, char text[static CELL_TEXT_MAX])
{
    snprintf(text, CELL_TEXT_MAX, "%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT,
             model->resident_layers, model->layers);
}

static void show_passes(const struct top_model *model, char text[static CELL_TEXT_MAX])
{
    if (model->passes == 0)
        snprintf(text, CELL_TEXT_MAX, "-");
    else
        snprintf(text, CELL_TEXT_MAX, "%.*f", model->passes_per_minute < 10,
                 model->passes_per_minute);
}

/* The columns after the name; the least useful ones come last. */
static const struct {
    const char *title;
    int width;
} columns_of_table[] = {{"RESIDENT", 10}, {"HITS", 8},    {"MISSES", 8},   {"READ", 10},
                        {"USED", 7},      {"HELD", 5},    {"RUNS", 5},     {"PASS/MIN", 9},
                        {"SIZE", 10},     {"LAYERS", 12}, {"STREAMED", 10}};
enum { N_COLUMNS = sizeof columns_of_table / sizeof *columns_of_table };

static void show_cell(const struct top_model *model, size_t column, char text[static CELL_TEXT_MAX])
{
    switch (column) {
    case 0:
        output_size(model->resident_bytes, text);
        break;
    case 1:
        show_count(model->hits, text);
        break;
    case 2:
        show_count(model->misses, text);
        break;
    case 3:
        output_size(model->loaded_bytes, text);
        break;
    case 4:
        show_age(model->used_at_usec, text);
        break;
    case 5:
        show_count(model->leases, text);
        break;
    case 6:
        show_count(model->runs, text);
        break;
    case 7:
        show_passes(model, text);
        break;
    case 8:
        output_size(model->bytes, text);
        break;
    case 9:
        show_layers(model, text);
        break;
    default:
        output_size(model->streamed_bytes, text);
    }
}

static void draw_model(const struct top_model *model, int y, int name_columns, size_t n_columns)
{
    char text[CELL_TEXT_MAX];
    bool has_key = model->resident_bytes + model->loading_bytes > 0;
    chtype color =
        has_key && model->key != '*'
            ? (chtype)COLOR_PAIR(TOP_COLOR_MODEL + (model->key - 'a' + 1) % TOP_MODEL_COLORS)
            : 0;
    int x = 2 + name_columns;

    mvaddch(y, 0, has_key ? (chtype)model->key | color : ' ');
    bool is_long = text_columns(model->name) > (size_t)name_columns;
    _cleanup_(freep) char *shorter =
        is_long ? text_shorten(model->name, (size_t)name_columns) : NULL;
    top_draw_text(y, 2, name_columns, shorter ? shorter : model->name);
    for (size_t i = 0; i < n_columns; i++) {
        int width = columns_of_table[i].width;
        show_cell(model, i, text);
        top_draw_format(y, x, width, "%*s", width, text);
        x += width;
    }
}

static void draw_header(int y, int columns, int name_columns, size_t n_columns)
{
    int x = 2 + name_columns;

    attron(A_REVERSE);
    mvhline(y, 0, ' ', columns);
    top_draw_text(y, 2, name_columns, "MODEL");
    for (size_t i = 0; i < n_columns; i++) {
        int width = columns_of_table[i].width;
        top_draw_format(y, x, width, "%*s", width, columns_of_table[i].title);
        x += width;
    }
    attroff(A_REVERSE);
}

void top_draw_models(const struct top_data *data, const struct top_look *look, int y, int n_rows,
                     int columns)
{
    int name_columns = columns - 2;
    size_t n_columns = 0, n_shown = 0;
    enum top_sort sort = look->sort;

    for (; n_columns < N_COLUMNS &&
           name_columns - columns_of_table[n_columns].width >= NAME_COLUMNS_MIN;
         n_columns++)
        name_columns -= columns_of_table[n_columns].width;
    if (name_columns > NAME_COLUMNS_MAX)
        name_columns = NAME_COLUMNS_MAX;
    draw_header(y, columns, name_columns, n_columns);

    const struct top_model **shown = calloc(data->n_models + 1, sizeof *shown);
    if (!shown)
        return;
    for (size_t i = 0; i < data->n_models; i++)
        if (top_shows(look, data->models[i].name))
            shown[n_shown++] = &data->models[i];
    qsort_r(shown, n_shown, sizeof *shown, compare, &sort);
    for (int row = 1; row < n_rows && look->first_model + (size_t)row <= n_shown; row++)
        draw_model(shown[look->first_model + (size_t)row - 1], y + row, name_columns, n_columns);
    if (n_shown == 0)
        top_draw_text(y + 1, 2, columns - 2,
                      data->n_models > 0 ? "no model matches the filter"
                                         : "no models; 'emctl load-model FILE' loads one");
    free(shown);
}
