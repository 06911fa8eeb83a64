/* A progress bar in one line of a terminal: share, layers, bytes, rate and remaining time. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct progress_state {
    uint64_t layers_done, layers_total;
    uint64_t bytes_done, bytes_total;
    double bytes_per_second; /* 0: not known */
};

enum { PROGRESS_LINE_MAX = 256 };

/* The line for a terminal of `width` columns: at most width - 1 of them, because some terminals
 * wrap at the last. What does not fit is left out, the least useful part first. ASCII only. Returns
 * its length. Pure. */
size_t progress_format(const struct progress_state *state, unsigned width,
                       char line[static PROGRESS_LINE_MAX]);

/* How fast bytes arrive: the mean since the start, and after some seconds a moving one, so that it
 * follows the disk and does not flicker. Zero-initialise. */
struct progress_rate {
    uint64_t bytes, elapsed_usec; /* as of the last update */
    double bytes_per_second;
};

/* Pure. Neither time nor bytes should run backwards; what does counts as a standstill. */
void progress_rate_update(struct progress_rate *rate, uint64_t bytes, uint64_t elapsed_usec);

struct progress {
    FILE *stream; /* NULL: nothing is drawn */
    uint64_t started_usec;
    uint64_t drawn_usec; /* 0: not yet */
    struct progress_rate rate;
};

/* Starts the clock. Draws only if `stream` is a terminal that can erase a line. */
void progress_start(struct progress *progress, FILE *stream);

/* At most some ten times a second. `state->bytes_per_second` is filled in. */
void progress_draw(struct progress *progress, struct progress_state *state);

/* Erases the line. */
void progress_end(struct progress *progress);
