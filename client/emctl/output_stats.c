/* The statistics screen for people. The most important facts come first. Counts that should always
 * be zero are left out while they are. Lines are wrapped to the terminal's width, but only between
 * facts. */
#include "client/emctl/output.h"

#include "common/clock.h"
#include "common/units.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

enum {
    LABEL_COLUMNS = 11,
    BAR_MAX = 40,
    BAR_ROW_COLUMNS = 51, /* the maximum width of the rest of the bar's row */
    LINE_MAX_BYTES = 512,
    STALE_USEC = 10 * 1000 * 1000
};

#define INT "%" JSON_INTEGER_FORMAT

/* A label and its facts. */
struct row {
    char facts[LINE_MAX_BYTES];
    size_t n_bytes;
};

/* Appends a fact if `wanted`. */
__attribute__((format(printf, 3, 4))) static void add(struct row *row, bool wanted,
                                                      const char *format, ...)
{
    va_list arguments;

    if (!wanted || row->n_bytes + 3 > sizeof row->facts)
        return;
    if (row->n_bytes > 0) {
        memcpy(row->facts + row->n_bytes, ", ", 3);
        row->n_bytes += 2;
    }
    va_start(arguments, format);
    vsnprintf(row->facts + row->n_bytes, sizeof row->facts - row->n_bytes, format, arguments);
    va_end(arguments);
    row->n_bytes += strlen(row->facts + row->n_bytes);
}

/* Prints a row. A fact that does not fit goes on the next line. `color` may be "". */
static void print_row(const struct output *output, const char *label, const char *color,
                      const struct row *row)
{
    size_t column = LABEL_COLUMNS;
    bool painted = output->color && *color;

    if (row->n_bytes == 0)
        return;
    fprintf(output->stream, "%-*s%s", (int)LABEL_COLUMNS, label, painted ? color : "");
    for (const char *fact = row->facts; fact;) {
        const char *end = strstr(fact, ", ");
        size_t n = end ? (size_t)(end - fact) + 1 : strlen(fact); /* with its comma */
        if (column > LABEL_COLUMNS && output->width > 0 && column + 1 + n > output->width) {
            fprintf(output->stream, "\n%*s", (int)LABEL_COLUMNS, "");
            column = LABEL_COLUMNS;
        } else if (column > LABEL_COLUMNS) {
            fputc(' ', output->stream);
            column++;
        }
        fprintf(output->stream, "%.*s", (int)n, fact);
        column += n;
        fact = end ? end + 2 : NULL;
    }
    fprintf(output->stream, "%s\n", painted ? "\033[0m" : "");
}

/* A difference of sizes as text, with its sign. */
static const char *difference(json_int_t bytes, char text[static SIZE_TEXT_MAX + 1])
{
    text[0] = '-';
    size_format(bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes, text + 1);
    return bytes < 0 ? text : text + 1;
}

/* A duration in whole seconds: the daemon's uptime, or the age of a sample. */
static const char *duration(json_int_t usec, char text[static DURATION_TEXT_MAX])
{
    enum { USEC_PER_SEC = 1000000 };

    if (usec >= 60 * (json_int_t)USEC_PER_SEC)
        return duration_format((uint64_t)usec, text);
    snprintf(text, DURATION_TEXT_MAX, INT " s", usec > 0 ? usec / USEC_PER_SEC : 0);
    return text;
}

/* "[######..........]  63%  32.0 MiB of 50.0 MiB used". The bar fills the rest of the width. */
static void print_bar(const struct output *output, json_int_t used, json_int_t capacity)
{
    char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], bar[BAR_MAX + 1];
    unsigned room = output->width == 0                ? BAR_MAX
                    : output->width > BAR_ROW_COLUMNS ? output->width - BAR_ROW_COLUMNS
                                                      : 0;
    int n = room > BAR_MAX ? BAR_MAX : (int)room;
    double share = capacity > 0 && used > 0 ? (double)used / (double)capacity : 0;

    if (share > 1)
        share = 1;
    memset(bar, '.', sizeof bar);
    memset(bar, '#', (size_t)(share * n));
    fprintf(output->stream, "%-*s", (int)LABEL_COLUMNS, "arena");
    if (n >= 8)
        fprintf(output->stream, "[%.*s]  ", n, bar);
    fprintf(output->stream, "%u%%  %s of %s used\n", (unsigned)(share * 100), output_size(used, a),
            output_size(capacity, b));
}

/* `shortage` is NULL from a daemon that does not tell it. */
static int show_arena(const struct output *output, json_t *arena, const json_t *shortage)
{
    json_int_t capacity, used, free_bytes, leased, committed, largest;
    json_int_t trimmed = json_integer_value(json_object_get(shortage, "trimmedBytes"));
    const char *backing;
    char text[SIZE_TEXT_MAX];
    struct row row = {0};

    if (json_unpack(arena, "{s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "capacityBytes", &capacity,
                    "usedBytes", &used, "freeBytes", &free_bytes, "leasedBytes", &leased,
                    "committedBytes", &committed, "largestFreeBytes", &largest, "backing",
                    &backing) < 0)
        return -EBADMSG;
    print_bar(output, used, capacity);
    add(&row, true, "%s free", output_size(free_bytes, text));
    add(&row, largest < free_bytes, "%s in one piece", output_size(largest, text));
    add(&row, leased > 0, "%s in use by clients or loads", output_size(leased, text));
    add(&row, committed < capacity, "%s committed", output_size(committed, text));
    add(&row, trimmed > 0, "%s given back to the system", output_size(trimmed, text));
    add(&row, true, "%s", backing);
    print_row(output, "", "", &row);
    return 0;
}

static int show_monitor(const struct output *output, json_t *monitor, const json_t *shortage)
{
    json_int_t rss, swap, arena_swapped, overhead, drift, available, sampled_at;
    int aligned;
    const char *reason = json_string_value(json_object_get(shortage, "reason"));
    double pressure = json_number_value(json_object_get(monitor, "pressurePercent"));
    char text[SIZE_TEXT_MAX + 1];
    struct row verdict = {0}, memory = {0}, machine = {0};

    if (json_unpack(monitor, "{s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I}", "rssBytes", &rss,
                    "swapBytes", &swap, "arenaSwappedBytes", &arena_swapped, "overheadBytes",
                    &overhead, "driftBytes", &drift, "aligned", &aligned, "availableBytes",
                    &available, "sampledAtUsec", &sampled_at) < 0)
        return -EBADMSG;
    json_int_t age = (json_int_t)clock_realtime_usec() - sampled_at;

    add(&verdict, true, "%s",
        aligned ? "aligned: the system agrees" : "NOT ALIGNED with the system");
    add(&verdict, drift != 0, "%s off", difference(drift, text));
    add(&verdict, arena_swapped > 0, "%s of the arena swapped out",
        output_size(arena_swapped, text));
    add(&verdict, age >= STALE_USEC, "as of %s ago", duration(age, text));
    print_row(output, "verdict", aligned ? "\033[32m" : "\033[1;31m", &verdict);

    add(&memory, true, "%s RSS", output_size(rss, text));
    add(&memory, true, "%s of it beside the arena", output_size(overhead, text));
    add(&memory, swap > 0, "%s swapped out", output_size(swap, text));
    print_row(output, "memory", "", &memory);

    add(&machine, true, "%s available", output_size(available, text));
    add(&machine, pressure > 0, "memory pressure %.2f%%", pressure);
    add(&machine, reason, "MEMORY IS SHORT (%s)", reason);
    print_row(output, "machine", reason ? "\033[1;31m" : "", &machine);
    return 0;
}

static int show_scheduler(const struct output *output, json_t *scheduler)
{
    const char *policy, *on_full;
    json_int_t models, resident, loading, hits, misses, must_unload, out_of_memory, busy, evictions,
        flushes, bytes;
    json_int_t runs = json_integer_value(json_object_get(scheduler, "runs")),
               waiting = json_integer_value(json_object_get(scheduler, "waiting"));
    char text[SIZE_TEXT_MAX];
    struct row layers = {0}, requests = {0}, decisions = {0}, chosen = {0};

    if (json_unpack(scheduler,
                    "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I}, s:I, s:I, s:I}",
                    "policy", &policy, "onFull", &on_full, "models", &models, "layersLoaded",
                    &resident, "layersLoading", &loading, "hits", &hits, "misses", &misses,
                    "decisions", "mustUnload", &must_unload, "outOfMemory", &out_of_memory, "busy",
                    &busy, "evictions", &evictions, "flushes", &flushes, "bytesLoaded", &bytes) < 0)
        return -EBADMSG;
    add(&layers, true, INT " resident", resident);
    add(&layers, loading > 0, INT " loading", loading);
    add(&layers, true, INT " model%s known", models, models == 1 ? "" : "s");
    add(&layers, runs > 0, INT " run%s", runs, runs == 1 ? "" : "s");
    print_row(output, "layers", "", &layers);

    add(&requests, true, INT " hit%s", hits, hits == 1 ? "" : "s");
    add(&requests, true, INT " miss%s", misses, misses == 1 ? "" : "es");
    add(&requests, true, "%s loaded", output_size(bytes, text));
    add(&requests, waiting > 0, INT " waiting", waiting);
    print_row(output, "requests", "", &requests);

    add(&decisions, must_unload > 0, INT " must-unload", must_unload);
    add(&decisions, evictions > 0, INT " layer%s evicted", evictions, evictions == 1 ? "" : "s");
    add(&decisions, flushes > 0, INT " flush%s", flushes, flushes == 1 ? "" : "es");
    add(&decisions, out_of_memory > 0, INT " out-of-memory", out_of_memory);
    add(&decisions, busy > 0, INT " busy", busy);
    print_row(output, "", "", &decisions);

    add(&chosen, true, "%s", policy);
    add(&chosen, true, "%s when full", on_full);
    print_row(output, "policy", "", &chosen);
    return 0;
}

/* Nothing without views, as from a daemon that does not know them. */
static int show_views(const struct output *output, json_t *views)
{
    json_int_t count, bytes, outside, held, faults, hits, read;
    char text[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];
    struct row row = {0};

    if (!views)
        return 0;
    if (json_unpack(views, "{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "count", &count, "bytes", &bytes,
                    "outsideBytes", &outside, "heldBytes", &held, "faults", &faults, "hits", &hits,
                    "readBytes", &read) < 0)
        return -EBADMSG;
    if (count == 0 && faults == 0)
        return 0;
    add(&row, true, INT " view%s", count, count == 1 ? "" : "s");
    add(&row, count > 0, "%s of %s held", output_size(held, text), output_size(bytes, all));
    add(&row, outside > 0, "%s outside the arena", output_size(outside, text));
    add(&row, true, INT " fault%s", faults, faults == 1 ? "" : "s");
    add(&row, faults > 0, INT " hit%s", hits, hits == 1 ? "" : "s");
    add(&row, faults > 0, "%s loaded", output_size(read, text));
    print_row(output, "views", "", &row);
    return 0;
}

static int show_daemon(const struct output *output, json_t *reply)
{
    const char *version;
    json_int_t pid, uptime, connections, requests, errors;
    double cpu;
    char text[SIZE_TEXT_MAX];
    struct row daemon = {0}, control = {0};

    if (json_unpack(reply, "{s:{s:F}, s:{s:I, s:I, s:I}, s:{s:s, s:I, s:I}}", "monitor",
                    "cpuPercent", &cpu, "control", "connections", &connections, "requests",
                    &requests, "errors", &errors, "daemon", "version", &version, "pid", &pid,
                    "uptimeUsec", &uptime) < 0)
        return -EBADMSG;
    add(&daemon, true, "edgemindd %s", version);
    add(&daemon, true, "pid " INT, pid);
    add(&daemon, true, "up %s", duration(uptime, text));
    add(&daemon, cpu >= 0.05, "%.1f%% CPU", cpu);
    print_row(output, "daemon", "", &daemon);

    add(&control, true, INT " connection%s", connections, connections == 1 ? "" : "s");
    add(&control, true, INT " request%s", requests, requests == 1 ? "" : "s");
    add(&control, errors > 0, INT " error%s", errors, errors == 1 ? "" : "s");
    print_row(output, "", "", &control);
    return 0;
}

int output_text_stats(struct output *output, const struct subject *subject, json_t *reply)
{
    (void)subject;
    const json_t *shortage = json_object_get(reply, "pressure");
    int r = show_arena(output, json_object_get(reply, "arena"), shortage);
    if (r == 0)
        r = show_monitor(output, json_object_get(reply, "monitor"), shortage);
    if (r == 0)
        r = show_scheduler(output, json_object_get(reply, "scheduler"));
    if (r == 0)
        r = show_views(output, json_object_get(reply, "views"));
    return r == 0 ? show_daemon(output, reply) : r;
}
