#include "client/emctl/map_chart.h"

#include "client/emctl/output.h"
#include "common/clock.h"

enum { LABEL_HEIGHT = 18, PLOT_HEIGHT = MAP_CHART_HEIGHT - 2 * LABEL_HEIGHT };
#define HOUR_USEC (UINT64_C(3600) * 1000 * 1000)
/* A longer gap between two points is a time without a daemon, or a machine that slept. */
#define GAP_USEC (UINT64_C(60) * 1000 * 1000)

/* Where in the picture. */
struct plot {
    int x, y, width;
    double top_bytes; /* what the upper edge stands for */
    uint64_t now_usec;
};

static double x_of(const struct plot *plot, uint64_t at_usec)
{
    uint64_t age = at_usec < plot->now_usec ? plot->now_usec - at_usec : 0;
    return plot->x + plot->width * (1 - (double)(age < HOUR_USEC ? age : HOUR_USEC) / HOUR_USEC);
}

static double y_of(const struct plot *plot, json_int_t bytes)
{
    return plot->y + PLOT_HEIGHT * (1 - (double)bytes / plot->top_bytes);
}

/* Steps from point to point. The line ends at a gap. */
static void write_line(FILE *stream, const struct plot *plot, const struct top_data *data,
                       bool arena, const char *style)
{
    fprintf(stream, "<path %s d=\"", style);
    for (size_t i = 0; i < data->n_history; i++) {
        const struct top_point *point = &data->history[i];
        uint64_t before = i > 0 ? data->history[i - 1].at_usec : 0;
        double y = y_of(plot, arena ? point->arena_bytes : point->rss_bytes);
        bool is_last = i + 1 == data->n_history;
        uint64_t end = is_last ? plot->now_usec : data->history[i + 1].at_usec;
        bool begins = i == 0 || point->at_usec - before > GAP_USEC;
        fprintf(stream, "%c%.1f %.1fH%.1f", begins ? 'M' : 'L', x_of(plot, point->at_usec), y,
                x_of(plot, end - point->at_usec > GAP_USEC ? point->at_usec : end));
    }
    fputs("\"/>\n", stream);
}

static void write_label(FILE *stream, double x, double y, const char *anchor, const char *text)
{
    fprintf(stream, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"12\" text-anchor=\"%s\">%s</text>\n",
            x, y, anchor, text);
}

void map_chart_write(FILE *stream, const struct top_data *data, int x, int y, int width)
{
    struct plot plot = {x, y + LABEL_HEIGHT, width, (double)data->stats.capacity_bytes * 1.1,
                        clock_realtime_usec()};
    char size[SIZE_TEXT_MAX], text[SIZE_TEXT_MAX + 32];
    int bottom = plot.y + PLOT_HEIGHT;

    for (size_t i = 0; i < data->n_history; i++)
        if ((double)data->history[i].rss_bytes > plot.top_bytes)
            plot.top_bytes = (double)data->history[i].rss_bytes;
    if (plot.top_bytes <= 0)
        return;
    fprintf(stream, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#f4f4f4\"/>\n", x,
            plot.y, width, PLOT_HEIGHT);
    write_line(stream, &plot, data, true, "fill=\"none\" stroke=\"#4477aa\" stroke-width=\"1\"");
    write_line(stream, &plot, data, false, "fill=\"none\" stroke=\"#228833\" stroke-width=\"2\"");
    double capacity_y = y_of(&plot, data->stats.capacity_bytes);
    fprintf(stream,
            "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#cc3311\" "
            "stroke-dasharray=\"6 3\"/>\n",
            x, x + width, capacity_y, capacity_y);
    write_label(stream, x, y + 12, "start",
                "the last hour: RSS with the daemon itself (green), the arena's pages (blue)");
    snprintf(text, sizeof text, "capacity %s (red)", output_size(data->stats.capacity_bytes, size));
    write_label(stream, x + width, y + 12, "end", text);
    write_label(stream, x, bottom + 14, "start", "60 min ago");
    write_label(stream, x + width / 2.0, bottom + 14, "middle", "30 min ago");
    write_label(stream, x + width, bottom + 14, "end", "now");
}
