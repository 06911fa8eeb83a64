/* The pictures of emctl top: the map of the arena, the bars of the views, and the chart of the
 * daemon's memory. */
#include "client/emctl/cell_map.h"
#include "client/emctl/output.h"
#include "client/emctl/top_draw.h"

#include <ctype.h>
#include <curses.h>
#include <stdlib.h>

enum { OTHERS = TOP_KEYS + 1 }; /* the owner of cells of models without a letter */

/* A model's cells begin with its letter, so that the signs after it belong to it. */
static chtype draw_cell(const struct cell *cell, bool first)
{
    char key = cell->owner == OTHERS ? '*' : (char)('a' + cell->owner - 1);
    chtype color = (chtype)COLOR_PAIR(TOP_COLOR_MODEL + (int)(cell->owner % TOP_MODEL_COLORS));

    switch (cell->kind) {
    case CELL_FREE:
        return '.';
    case CELL_LEASED:
        return (chtype)toupper(key) | A_REVERSE | color;
    case CELL_STREAMED:
        return (first ? (chtype)key : '~') | color;
    case CELL_LOADING:
        return (first ? (chtype)key : '+') | A_BOLD | color;
    case CELL_RESIDENT:
        break;
    }
    return (chtype)key | color;
}

/* The shares of all models by their letters, then of those without. */
static void share_models(const struct top_data *data,
                         struct cell_share shares[static MODEL_SHARES * OTHERS])
{
    json_int_t others[MODEL_SHARES] = {0};

    for (size_t i = 0; i < OTHERS; i++)
        cell_map_share_model(shares + i * MODEL_SHARES, i + 1, 0, 0, 0, 0);
    for (size_t i = 0; i < data->n_models; i++) {
        const struct top_model *model = &data->models[i];
        size_t owner = (size_t)(model->key - 'a');
        if (model->key == '*') {
            others[0] += model->resident_bytes;
            others[1] += model->leased_bytes;
            others[2] += model->streamed_bytes;
            others[3] += model->loading_bytes;
        } else {
            cell_map_share_model(shares + owner * MODEL_SHARES, owner + 1,
                                 (uint64_t)model->resident_bytes, (uint64_t)model->leased_bytes,
                                 (uint64_t)model->streamed_bytes, (uint64_t)model->loading_bytes);
        }
    }
    cell_map_share_model(shares + TOP_KEYS * MODEL_SHARES, OTHERS, (uint64_t)others[0],
                         (uint64_t)others[1], (uint64_t)others[2], (uint64_t)others[3]);
}

void top_draw_map(const struct top_data *data, int y, int n_rows, int columns)
{
    struct cell_share shares[MODEL_SHARES * OTHERS];
    int width = columns - TOP_LABEL_COLUMNS;
    size_t n_cells = (size_t)width * (size_t)n_rows;
    struct cell *cells = calloc(n_cells, sizeof *cells);

    if (!cells)
        return;
    share_models(data, shares);
    cell_map_fill(cells, n_cells, (uint64_t)data->stats.capacity_bytes, shares,
                  MODEL_SHARES * OTHERS);
    top_draw_text(y, 0, TOP_LABEL_COLUMNS, "map");
    for (size_t i = 0; i < n_cells; i++)
        mvaddch(y + (int)i / width, TOP_LABEL_COLUMNS + (int)i % width,
                draw_cell(&cells[i], i == 0 || cells[i - 1].owner != cells[i].owner));
    free(cells);
}

/* "view engine of m, process 12: [####....----] 3.0 MiB of 9.0 MiB, 12 faults". */
void top_draw_views(const struct top_data *data, int y, int n_rows, int columns)
{
    enum { BAR = 20 };
    char held[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];

    for (int i = 0; i < n_rows; i++) {
        const struct top_view *view = &data->views[i];
        const struct cell_share shares[] = {{1, CELL_LEASED, (uint64_t)view->held_bytes},
                                            {1, CELL_STREAMED, (uint64_t)view->outside_bytes}};
        struct cell cells[BAR];
        char bar[BAR + 1];
        cell_map_fill(cells, BAR, (uint64_t)view->bytes, shares, 2);
        for (int k = 0; k < BAR; k++)
            bar[k] = "..#-+"[cells[k].kind];
        bar[BAR] = '\0';
        top_draw_text(y + i, 0, TOP_LABEL_COLUMNS, "view");
        top_draw_format(y + i, TOP_LABEL_COLUMNS, columns - TOP_LABEL_COLUMNS,
                        "[%s] %s of %s held, %s (%" JSON_INTEGER_FORMAT ") on %s", bar,
                        output_size(view->held_bytes, held), output_size(view->bytes, all),
                        view->program, view->pid, view->model);
    }
}

void top_draw_chart(const struct top_data *data, int y, int n_rows, int columns)
{
    double capacity = (double)data->stats.capacity_bytes, top = capacity * 1.1;
    int width = columns - TOP_LABEL_COLUMNS;
    char text[SIZE_TEXT_MAX];

    for (int i = 0; i < width; i++) {
        double rss = (double)top_data_rss_bytes(data, (uint64_t)i);
        top = rss > top ? rss : top;
    }
    if (top <= 0)
        return;
    int capacity_row = (int)((top - capacity) / top * n_rows);
    if (capacity_row > 0)
        top_draw_text(y, 0, TOP_LABEL_COLUMNS - 1, output_size((json_int_t)top, text));
    top_draw_text(y + capacity_row, 0, TOP_LABEL_COLUMNS - 1,
                  output_size(data->stats.capacity_bytes, text));
    if (n_rows - 1 > capacity_row)
        top_draw_text(y + n_rows - 1, 0, TOP_LABEL_COLUMNS, "RSS");
    for (int row = 0; row < n_rows; row++) {
        double low = top * (n_rows - 1 - row) / n_rows, step = top / n_rows;
        for (int i = 0; i < width; i++) {
            double rss = (double)top_data_rss_bytes(data, (uint64_t)(width - 1 - i));
            bool filled = rss > low + step / 2 || (row == n_rows - 1 && rss > 0);
            chtype sign = row == capacity_row ? (filled ? '=' : '-') : filled ? '#' : ' ';
            if (filled)
                sign |= (chtype)COLOR_PAIR(TOP_COLOR_CHART);
            mvaddch(y + row, TOP_LABEL_COLUMNS + i, sign);
        }
    }
}
