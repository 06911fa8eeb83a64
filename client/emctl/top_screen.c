/* The layout of emctl top, and its lines of text. */
#include "client/emctl/output.h"
#include "client/emctl/top_draw.h"
#include "common/clock.h"

#include <curses.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

enum { ROWS_MIN = 16, COLUMNS_MIN = 60, LINE_MAX_BYTES = 512 };

int top_draw_text(int y, int x, int room, const char *text)
{
    wchar_t wide[LINE_MAX_BYTES];
    mbstate_t state = {0};
    int used = 0;
    size_t n = 0;

    for (size_t length; n + 1 < LINE_MAX_BYTES; text += length, n++) {
        length = mbrtowc(&wide[n], text, MB_LEN_MAX, &state);
        if (length == 0 || length == (size_t)-1 || length == (size_t)-2)
            break;
        int width = wcwidth(wide[n]);
        if (width < 0 || used + width > room)
            break;
        used += width;
    }
    mvaddnwstr(y, x, wide, (int)n);
    return used;
}

int top_draw_format(int y, int x, int room, const char *format, ...)
{
    char text[LINE_MAX_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return top_draw_text(y, x, room, text);
}

/* The right end of the title: the time, unless something is more important. */
static int draw_state(const struct top_look *look, int columns)
{
    char text[64];

    if (look->silent_usec > 0)
        snprintf(text, sizeof text, " no answer for %d s; trying again ",
                 (int)(look->silent_usec / 1000000));
    else if (look->is_paused)
        snprintf(text, sizeof text, " paused ");
    else
        output_clock(clock_realtime_usec(), text);
    int x = columns - (int)strlen(text);
    bool alarm = look->silent_usec > 0 || look->is_paused;
    if (alarm)
        attron(A_REVERSE | COLOR_PAIR(TOP_COLOR_ALARM));
    top_draw_text(0, x, columns - x, text);
    if (alarm)
        attroff(A_REVERSE | COLOR_PAIR(TOP_COLOR_ALARM));
    return x;
}

static void draw_title(const struct top_data *data, const struct top_look *look, int columns)
{
    const struct top_stats *stats = &data->stats;
    char uptime[DURATION_TEXT_MAX];
    int room = draw_state(look, columns) - 1;

    if (stats->uptime_usec < 60 * 1000000)
        snprintf(uptime, sizeof uptime, "%d s", (int)(stats->uptime_usec / 1000000));
    else
        duration_format((uint64_t)stats->uptime_usec, uptime);
    top_draw_format(0, 0, room, "edgemindd %s%s%s, process %" JSON_INTEGER_FORMAT ", up %s, %s, %s",
                    stats->version, look->host ? " on " : "", look->host ? look->host : "",
                    stats->pid, uptime, stats->policy, stats->on_full);
}

static void draw_arena(const struct top_data *data, int columns)
{
    const struct top_stats *stats = &data->stats;
    char used[SIZE_TEXT_MAX], capacity[SIZE_TEXT_MAX], leased[SIZE_TEXT_MAX], rss[SIZE_TEXT_MAX];
    char swapped[SIZE_TEXT_MAX], trimmed[SIZE_TEXT_MAX];
    double asked = (double)stats->hits + (double)stats->misses;

    int x = top_draw_format(1, 0, columns, "arena %s of %s, %s leased; RSS %s; CPU %.1f%%",
                            output_size(stats->used_bytes, used),
                            output_size(stats->capacity_bytes, capacity),
                            output_size(stats->leased_bytes, leased),
                            output_size(stats->rss_bytes, rss), stats->cpu_percent);
    if (asked > 0)
        x += top_draw_format(1, x, columns - x, "; %.0f%% hits", (double)stats->hits * 100 / asked);
    attron(A_REVERSE | COLOR_PAIR(TOP_COLOR_ALARM));
    if (!stats->aligned)
        x += top_draw_text(1, x, columns - x, " NOT ALIGNED ");
    if (stats->swap_bytes > 0)
        x += top_draw_format(1, x, columns - x, " %s SWAPPED ",
                             output_size(stats->swap_bytes, swapped));
    if (stats->is_short)
        x += top_draw_text(1, x, columns - x, " MEMORY SHORT ");
    if (stats->trimmed_bytes > 0)
        top_draw_format(1, x, columns - x, " %s TRIMMED ",
                        output_size(stats->trimmed_bytes, trimmed));
    attroff(A_REVERSE | COLOR_PAIR(TOP_COLOR_ALARM));
}

/* The newest at the bottom. */
static void draw_events(const struct top_data *data, const struct top_look *look, int y, int n_rows,
                        int columns)
{
    attron(A_REVERSE);
    mvhline(y, 0, ' ', columns);
    top_draw_text(y, 2, columns - 2, "EVENTS");
    attroff(A_REVERSE);
    uint64_t n = data->n_events;
    uint64_t oldest = n > TOP_EVENTS_MAX ? n - TOP_EVENTS_MAX : 0;
    for (int row = n_rows - 1; row > 0 && n > oldest; n--) {
        const struct top_event *event = &data->events[(n - 1) % TOP_EVENTS_MAX];
        char at[CLOCK_TEXT_MAX];
        if (!top_shows(look, event->model))
            continue;
        top_draw_format(y + row, 0, columns, "%s  %s", output_clock(event->at_usec, at),
                        event->text);
        row--;
    }
}

static void draw_footer(const struct top_look *look, int y, int columns)
{
    if (look->is_typing)
        top_draw_format(y, 0, columns - 1, "show models with: %s_  (Enter keeps it, Esc shows all)",
                        look->filter);
    else
        top_draw_format(y, 0, columns - 1,
                        "q quit  s sort: %s  / filter%s%s  p pause  Up, Down scroll  h help",
                        top_sort_name(look->sort), *look->filter ? ": " : "", look->filter);
}

static void draw_help(int columns)
{
    static const char *const lines[] = {
        "Keys",
        "  q      quit                       s      sort by the next column",
        "  /      show models with a text    p      pause and go on",
        "  Up, Down, Page Up, Page Down      scroll the models",
        "",
        "Map: each cell is a share of the arena; letters are models (see the table)",
        "  a      resident                   A      leased: clients hold it",
        "  ~      streamed by a run          +      being loaded",
        "  *      further models             .      free",
        "Views: # held   - mapped from the file   . neither",
        "Chart: the daemon's memory (RSS), a column a second; --- is the capacity",
        "",
        "Any key goes back.",
    };

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        top_draw_text((int)i + 1, 1, columns - 1, lines[i]);
}

static int between(int low, int n, int high)
{
    return n < low ? low : n > high ? high : n;
}

static void draw_all(const struct top_data *data, const struct top_look *look, int rows,
                     int columns)
{
    int spare = rows - ROWS_MIN;
    int map_rows = 1 + between(0, spare / 6, 5), chart_rows = 3 + between(0, spare / 4, 7);
    int view_rows = between(0, (int)data->n_views, 1 + spare / 10);
    int event_rows = 3 + between(0, spare / 6, 9);
    int y = 2;

    draw_title(data, look, columns);
    draw_arena(data, columns);
    top_draw_map(data, y, map_rows, columns);
    y += map_rows;
    top_draw_views(data, y, view_rows, columns);
    y += view_rows;
    top_draw_chart(data, y, chart_rows, columns);
    y += chart_rows;
    top_draw_models(data, look, y, rows - 1 - event_rows - y, columns);
    draw_events(data, look, rows - 1 - event_rows, event_rows, columns);
    draw_footer(look, rows - 1, columns);
}

void top_draw(const struct top_data *data, const struct top_look *look)
{
    int rows, columns;

    getmaxyx(stdscr, rows, columns);
    erase();
    if (rows < ROWS_MIN || columns < COLUMNS_MIN)
        top_draw_format(0, 0, columns, "too small: %d x %d, needs %d x %d", columns, rows,
                        COLUMNS_MIN, ROWS_MIN);
    else if (look->shows_help)
        draw_help(columns);
    else
        draw_all(data, look, rows, columns);
    refresh();
}
