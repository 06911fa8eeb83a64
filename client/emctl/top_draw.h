/* The parts of emctl top's screen. Each draws into rows that the layout gives it, and uses only
 * characters and attributes that every terminal has; colours only repeat what these say. */
#pragma once

#include "client/emctl/top_data.h"

#include <stdbool.h>

enum top_sort {
    TOP_SORT_RESIDENT,
    TOP_SORT_HITS,
    TOP_SORT_MISSES,
    TOP_SORT_READ,
    TOP_SORT_USED,
    TOP_SORT_NAME,
    TOP_SORTS
};

enum { TOP_FILTER_MAX = 64, TOP_LABEL_COLUMNS = 11 };

/* What the user chose to see. */
struct top_look {
    const char *host; /* NULL: this one */
    enum top_sort sort;
    char filter[TOP_FILTER_MAX]; /* models and events whose model contains it; "": all */
    bool is_typing;              /* the filter */
    bool is_paused, shows_help;
    size_t first_model;   /* the first row of the table */
    uint64_t silent_usec; /* how long the daemon has been away or silent; 0: it answers */
};

enum top_color {
    TOP_COLOR_MODEL = 1, /* the first of TOP_MODEL_COLORS */
    TOP_MODEL_COLORS = 6,
    TOP_COLOR_ALARM = TOP_COLOR_MODEL + TOP_MODEL_COLORS,
    TOP_COLOR_CHART,
};

const char *top_sort_name(enum top_sort sort);

/* Whether the filter shows a model of this name. */
bool top_shows(const struct top_look *look, const char *model);

/* Writes text at most `room` columns wide. Returns the columns that it took. */
int top_draw_text(int y, int x, int room, const char *text);
int top_draw_format(int y, int x, int room, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The map of the arena, and a bar for each of the first `n_rows` views. */
void top_draw_map(const struct top_data *data, int y, int n_rows, int columns);
void top_draw_views(const struct top_data *data, int y, int n_rows, int columns);

/* The daemon's memory of the last seconds against the capacity. */
void top_draw_chart(const struct top_data *data, int y, int n_rows, int columns);

/* The header, and n_rows - 1 models. */
void top_draw_models(const struct top_data *data, const struct top_look *look, int y, int n_rows,
                     int columns);

/* All of it. Says so if the terminal is too small. */
void top_draw(const struct top_data *data, const struct top_look *look);
