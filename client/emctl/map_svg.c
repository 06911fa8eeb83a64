/* Owns the layout: figures, the arena's cells, the chart, a legend of the models, the views.
 * Colours repeat after PALETTE models, so each model's first cell also has its letter. The picture
 * is whole: it needs neither fonts nor other files, and runs no script. */
#include "client/emctl/map_svg.h"

#include "client/emctl/cell_map.h"
#include "client/emctl/map_chart.h"
#include "client/emctl/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WIDTH = 960,
    MARGIN = 24,
    MAP_COLUMNS = 76,
    MAP_ROWS = 16,
    CELL = 12,
    MAP_TOP = 84,
    CHART_TOP = MAP_TOP + MAP_ROWS * CELL + 60,
    LEGEND_TOP = CHART_TOP + MAP_CHART_HEIGHT + 30,
    LINE = 20,
    MODELS_SHOWN = TOP_KEYS,
    FIGURES_LEFT = 340,
    NAME_SHOWN = 40 /* bytes */
};

static const char *const palette[] = {"#4477aa", "#ee6677", "#228833", "#ccbb44",
                                      "#66ccee", "#aa3377", "#dd8833", "#8866cc"};
enum { PALETTE = sizeof palette / sizeof *palette };

/* Writes text as XML. Text is cut between characters. */
static void write_text(FILE *stream, const char *text, size_t n_max)
{
    for (const char *c = text; *c; c++) {
        if ((size_t)(c - text) >= n_max && (*c & 0xc0) != 0x80) {
            fputs("…", stream);
            return;
        }
        switch (*c) {
        case '<':
            fputs("&lt;", stream);
            break;
        case '>':
            fputs("&gt;", stream);
            break;
        case '&':
            fputs("&amp;", stream);
            break;
        case '"':
            fputs("&quot;", stream);
            break;
        default:
            fputc(*c, stream);
        }
    }
}

static const char *color_of(size_t owner)
{
    return palette[(owner - 1) % PALETTE];
}

/* Orders models by their size in the arena, the largest first. */
static int compare(const void *left, const void *right)
{
    const struct top_model *a = *(const struct top_model *const *)left;
    const struct top_model *b = *(const struct top_model *const *)right;
    json_int_t sizes[] = {a->resident_bytes + a->loading_bytes,
                          b->resident_bytes + b->loading_bytes};

    return sizes[0] != sizes[1] ? (sizes[0] < sizes[1] ? 1 : -1) : strcmp(a->name, b->name);
}

/* Patterns of lines in each colour, for streamed and loading layers. */
static void write_patterns(FILE *stream)
{
    fputs("<defs>\n", stream);
    for (size_t i = 0; i < PALETTE; i++)
        fprintf(stream,
                "<pattern id=\"s%zu\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\" "
                "patternTransform=\"rotate(45)\"><rect width=\"4\" height=\"4\" fill=\"%s\" "
                "fill-opacity=\".35\"/><rect width=\"2\" height=\"4\" fill=\"%s\"/></pattern>\n",
                i, palette[i], palette[i]);
    fputs("</defs>\n", stream);
}

static void write_cell(FILE *stream, int x, int y, const struct cell *cell, char key)
{
    int size = CELL - 1;

    fprintf(stream, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" ", x, y, size, size);
    switch (cell->kind) {
    case CELL_FREE:
        fputs("fill=\"#e8e8e8\"/>\n", stream);
        return;
    case CELL_RESIDENT:
        fprintf(stream, "fill=\"%s\"/>\n", color_of(cell->owner));
        break;
    case CELL_LEASED:
        fprintf(stream, "fill=\"%s\" stroke=\"#000\" stroke-width=\"1.5\"/>\n",
                color_of(cell->owner));
        break;
    case CELL_STREAMED:
        fprintf(stream, "fill=\"url(#s%zu)\"/>\n", (cell->owner - 1) % PALETTE);
        break;
    case CELL_LOADING:
        fprintf(stream, "fill=\"none\" stroke=\"%s\" stroke-dasharray=\"2\"/>\n",
                color_of(cell->owner));
        break;
    }
    if (key)
        fprintf(stream, "<text x=\"%d\" y=\"%d\" font-size=\"9\" fill=\"#fff\">%c</text>\n", x + 3,
                y + 9, key);
}

static int write_map(FILE *stream, const struct top_data *data,
                     const struct top_model *const *models)
{
    enum { N_CELLS = MAP_COLUMNS * MAP_ROWS };
    size_t n_shares = MODEL_SHARES * data->n_models;
    struct cell_share *shares = calloc(n_shares + 1, sizeof *shares);
    struct cell *cells = calloc(N_CELLS, sizeof *cells);
    int r = shares && cells ? 0 : -ENOMEM;

    if (r == 0) {
        for (size_t i = 0; i < data->n_models; i++)
            cell_map_share_model(
                shares + MODEL_SHARES * i, i + 1, (uint64_t)models[i]->resident_bytes,
                (uint64_t)models[i]->leased_bytes, (uint64_t)models[i]->streamed_bytes,
                (uint64_t)models[i]->loading_bytes);
        cell_map_fill(cells, N_CELLS, (uint64_t)data->stats.capacity_bytes, shares, n_shares);
        for (size_t i = 0; i < N_CELLS; i++) {
            size_t owner = cells[i].owner;
            bool first =
                owner > 0 && owner <= MODELS_SHOWN && (i == 0 || cells[i - 1].owner != owner);
            write_cell(stream, MARGIN + (int)(i % MAP_COLUMNS) * CELL,
                       MAP_TOP + (int)(i / MAP_COLUMNS) * CELL, &cells[i],
                       first ? (char)('a' + owner - 1) : '\0');
        }
    }
    free(shares);
    free(cells);
    return r;
}

/* Begins a line of text. */
static void begin_text(FILE *stream, int x, int y, int font_size)
{
    fprintf(stream, "<text x=\"%d\" y=\"%d\" font-size=\"%d\">", x, y, font_size);
}

static void write_figures(FILE *stream, const struct top_data *data, const char *host)
{
    const struct top_stats *stats = &data->stats;
    char used[SIZE_TEXT_MAX], capacity[SIZE_TEXT_MAX], leased[SIZE_TEXT_MAX], rss[SIZE_TEXT_MAX];
    char clock[32] = "";
    time_t now = time(NULL);
    struct tm local;

    if (localtime_r(&now, &local))
        strftime(clock, sizeof clock, "%Y-%m-%d %H:%M:%S %z", &local);
    begin_text(stream, MARGIN, 34, 20);
    fputs("EdgeMind's arena", stream);
    if (host) {
        fputs(" on ", stream);
        write_text(stream, host, NAME_SHOWN);
    }
    fprintf(stream, ", %s</text>\n", clock);
    begin_text(stream, MARGIN, 58, 14);
    fprintf(stream,
            "%s of %s used, %s leased; RSS %s; %" JSON_INTEGER_FORMAT " hits, %" JSON_INTEGER_FORMAT
            " misses; %s, %s; edgemindd %s</text>\n",
            output_size(stats->used_bytes, used), output_size(stats->capacity_bytes, capacity),
            output_size(stats->leased_bytes, leased), output_size(stats->rss_bytes, rss),
            stats->hits, stats->misses, stats->policy, stats->on_full, stats->version);
}

/* What the signs mean: one cell of each kind. */
static void write_signs(FILE *stream)
{
    static const struct {
        enum cell_kind kind;
        const char *text;
    } signs[] = {{CELL_RESIDENT, "resident"},
                 {CELL_LEASED, "leased"},
                 {CELL_STREAMED, "streamed by a run"},
                 {CELL_LOADING, "being loaded"},
                 {CELL_FREE, "free"}};

    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        int x = MARGIN + (int)i * 150, y = MAP_TOP + MAP_ROWS * CELL + 14;
        write_cell(stream, x, y, &(struct cell){1, signs[i].kind}, '\0');
        begin_text(stream, x + CELL + 4, y + 10, 12);
        fprintf(stream, "%s</text>\n", signs[i].text);
    }
}

/* Returns the row after the last one. */
static int write_models(FILE *stream, const struct top_data *data,
                        const struct top_model *const *models)
{
    char resident[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX], read[SIZE_TEXT_MAX];
    int y = LEGEND_TOP + LINE;

    for (size_t i = 0; i < data->n_models && i < MODELS_SHOWN; i++, y += LINE) {
        const struct top_model *model = models[i];
        write_cell(stream, MARGIN, y - 10, &(struct cell){i + 1, CELL_RESIDENT}, (char)('a' + i));
        begin_text(stream, MARGIN + CELL + 6, y, 13);
        write_text(stream, model->name, NAME_SHOWN);
        fputs("</text>\n", stream);
        begin_text(stream, FIGURES_LEFT, y, 13);
        fprintf(stream,
                "%s of %s, hits %" JSON_INTEGER_FORMAT ", misses %" JSON_INTEGER_FORMAT
                ", read %s, leases %" JSON_INTEGER_FORMAT ", runs %" JSON_INTEGER_FORMAT
                "</text>\n",
                output_size(model->resident_bytes, resident), output_size(model->bytes, all),
                model->hits, model->misses, output_size(model->loaded_bytes, read), model->leases,
                model->runs);
    }
    if (data->n_models > MODELS_SHOWN) {
        begin_text(stream, MARGIN, y, 13);
        fprintf(stream, "and %zu more models</text>\n", data->n_models - MODELS_SHOWN);
        y += LINE;
    }
    return y;
}

static void write_views(FILE *stream, const struct top_data *data, int y)
{
    char held[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];

    for (size_t i = 0; i < data->n_views; i++, y += LINE) {
        const struct top_view *view = &data->views[i];
        begin_text(stream, MARGIN, y, 13);
        fputs("view: ", stream);
        write_text(stream, view->program, NAME_SHOWN);
        fprintf(stream, " (process %" JSON_INTEGER_FORMAT ") on ", view->pid);
        write_text(stream, view->model, NAME_SHOWN);
        fprintf(stream, ", %s of %s held</text>\n", output_size(view->held_bytes, held),
                output_size(view->bytes, all));
    }
}

static int height_of(const struct top_data *data)
{
    size_t lines = data->n_models < MODELS_SHOWN ? data->n_models : MODELS_SHOWN + 1;
    return LEGEND_TOP + LINE * (int)(lines + data->n_views + 2);
}

int map_svg_write(FILE *stream, const struct top_data *data, const char *host)
{
    const struct top_model **models = calloc(data->n_models + 1, sizeof *models);
    int height = height_of(data);

    if (!models)
        return -ENOMEM;
    for (size_t i = 0; i < data->n_models; i++)
        models[i] = &data->models[i];
    qsort(models, data->n_models, sizeof *models, compare);
    fprintf(stream,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\">\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            WIDTH, height, WIDTH, height, WIDTH, height);
    write_patterns(stream);
    write_figures(stream, data, host);
    int r = write_map(stream, data, models);
    write_signs(stream);
    map_chart_write(stream, data, MARGIN, CHART_TOP, MAP_COLUMNS * CELL);
    write_views(stream, data, write_models(stream, data, models));
    fputs("</svg>\n", stream);
    free(models);
    return r;
}
