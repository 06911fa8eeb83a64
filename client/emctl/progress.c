/* Decides what the line says, which parts of it fit, and when it is drawn. */
#include "client/emctl/progress.h"

#include "client/emctl/output.h"
#include "common/clock.h"
#include "common/units.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    USEC_PER_SEC = 1000000,
    REDRAW_USEC = 90000, /* below the time between two replies, so that none is missed */
    RATE_WINDOW_USEC = 3000000,
    BAR_MIN = 10,
    BAR_MAX = 40,
    PARTS_MAX = 5
};

static double share_of(const struct progress_state *state)
{
    double share =
        state->bytes_total > 0 ? (double)state->bytes_done / (double)state->bytes_total : 0;
    return share > 1 ? 1 : share;
}

/* "0:07", "12:34", "3:00:01". */
static void format_time(uint64_t seconds, char text[static SIZE_TEXT_MAX])
{
    uint64_t hours = seconds / 3600;
    unsigned minutes = (unsigned)(seconds / 60 % 60), rest = (unsigned)(seconds % 60);

    if (hours > 0)
        snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 ":%02u:%02u", hours, minutes, rest);
    else
        snprintf(text, SIZE_TEXT_MAX, "%u:%02u", minutes, rest);
}

/* Writes the rate and the remaining time, or nothing while they are unknown. */
static void format_pace(const struct progress_state *state, char rate[static SIZE_TEXT_MAX + 4],
                        char left[static SIZE_TEXT_MAX + 8])
{
    char text[SIZE_TEXT_MAX];
    double per_second = state->bytes_per_second;

    *rate = *left = '\0';
    if (!(per_second >= 1 && per_second <= (double)(UINT64_C(1) << 62)))
        return;
    snprintf(rate, SIZE_TEXT_MAX + 4, "%s/s", size_format((uint64_t)per_second, text));
    if (state->bytes_done >= state->bytes_total)
        return;
    double seconds = (double)(state->bytes_total - state->bytes_done) / per_second;
    if (seconds > 100 * 3600)
        return;
    uint64_t whole = (uint64_t)seconds;
    format_time(whole + (seconds > (double)whole), text); /* rounded up: never 0:00 */
    snprintf(left, SIZE_TEXT_MAX + 8, "%s left", text);
}

/* "[#####.....]" of `width` columns. */
static size_t format_bar(double share, size_t width, char *line)
{
    size_t inner = width - 2, filled = (size_t)(share * (double)inner);

    line[0] = '[';
    memset(line + 1, '#', filled);
    memset(line + 1 + filled, '.', inner - filled);
    line[width - 1] = ']';
    return width;
}

size_t progress_format(const struct progress_state *state, unsigned width,
                       char line[static PROGRESS_LINE_MAX])
{
    char layers[64], bytes[2 * SIZE_TEXT_MAX + 8], rate[SIZE_TEXT_MAX + 4], left[SIZE_TEXT_MAX + 8];
    char done[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], percent[8];
    /* The parts in the order of the line. The numbers are their ranks; 0 is the most useful. */
    const struct {
        const char *text;
        unsigned rank;
    } parts[PARTS_MAX] = {{percent, 0}, {layers, 1}, {bytes, 2}, {rate, 4}, {left, 3}};
    size_t room = width > 0 ? width - 1 : 0, used = 0, at = 0;
    unsigned n_ranks = 0;

    if (room >= PROGRESS_LINE_MAX)
        room = PROGRESS_LINE_MAX - 1;
    snprintf(percent, sizeof percent, "%3u%%", (unsigned)(share_of(state) * 100));
    snprintf(layers, sizeof layers, "%" PRIu64 "/%" PRIu64 " layers", state->layers_done,
             state->layers_total);
    snprintf(bytes, sizeof bytes, "%s of %s", size_format(state->bytes_done, done),
             size_format(state->bytes_total, total));
    format_pace(state, rate, left);

    /* Takes as many parts as fit, in the order of their ranks. */
    for (; n_ranks < PARTS_MAX; n_ranks++) {
        size_t wanted = 0;
        for (size_t i = 0; i < PARTS_MAX; i++)
            if (parts[i].rank == n_ranks && *parts[i].text)
                wanted = strlen(parts[i].text) + (used > 0 ? 2 : 0);
        if (used + wanted > room)
            break;
        used += wanted;
    }
    if (used + 2 + BAR_MIN <= room) {
        size_t bar = room - used - 2;
        at = format_bar(share_of(state), bar < BAR_MAX ? bar : BAR_MAX, line);
    }
    for (size_t i = 0; i < PARTS_MAX; i++) {
        if (parts[i].rank >= n_ranks || !*parts[i].text)
            continue;
        size_t n = strlen(parts[i].text);
        if (at > 0) {
            memset(line + at, ' ', 2);
            at += 2;
        }
        memcpy(line + at, parts[i].text, n);
        at += n;
    }
    line[at] = '\0';
    return at;
}

/* An exponential average whose window grows to RATE_WINDOW_USEC. Until then it equals the mean. */
void progress_rate_update(struct progress_rate *rate, uint64_t bytes, uint64_t elapsed_usec)
{
    if (elapsed_usec <= rate->elapsed_usec)
        return;
    double usec = (double)(elapsed_usec - rate->elapsed_usec);
    double arrived = bytes > rate->bytes ? (double)(bytes - rate->bytes) : 0;
    double window = elapsed_usec < RATE_WINDOW_USEC ? (double)elapsed_usec : RATE_WINDOW_USEC;
    double weight = usec < window ? usec / window : 1;

    rate->bytes_per_second += weight * (arrived / usec * USEC_PER_SEC - rate->bytes_per_second);
    rate->bytes = bytes;
    rate->elapsed_usec = elapsed_usec;
}

void progress_start(struct progress *progress, FILE *stream)
{
    const char *terminal = getenv("TERM");
    bool capable = output_terminal_width(stream) > 0 && terminal && strcmp(terminal, "dumb") != 0;

    *progress = (struct progress){.stream = capable ? stream : NULL,
                                  .started_usec = clock_monotonic_usec()};
}

void progress_draw(struct progress *progress, struct progress_state *state)
{
    char line[PROGRESS_LINE_MAX];
    uint64_t now = clock_monotonic_usec();

    if (!progress->stream || (progress->drawn_usec > 0 && now - progress->drawn_usec < REDRAW_USEC))
        return;
    progress->drawn_usec = now;
    progress_rate_update(&progress->rate, state->bytes_done, now - progress->started_usec);
    state->bytes_per_second = progress->rate.bytes_per_second;
    progress_format(state, output_terminal_width(progress->stream), line);
    fprintf(progress->stream, "\r%s\033[K", line);
    fflush(progress->stream);
}

void progress_end(struct progress *progress)
{
    if (progress->stream && progress->drawn_usec > 0) {
        fputs("\r\033[K", progress->stream);
        fflush(progress->stream);
    }
    progress->drawn_usec = 0;
}
