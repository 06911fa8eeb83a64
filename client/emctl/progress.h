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

/* Makes the line for a terminal of `width` columns. The line takes at most width - 1 columns,
 * because some terminals wrap at the last one. Parts that do not fit are left out, the least useful
 * first. ASCII only. Returns the length of the line. Pure. */
size_t progress_format(const struct progress_state *state, unsigned width,
                       char line[static PROGRESS_LINE_MAX]);

/* How fast bytes arrive. At first this is the mean since the start; after some seconds it is a
 * moving mean, which follows the disk but does not flicker. Zero-initialise. */
struct progress_rate {
    uint64_t bytes, elapsed_usec; /* as of the last update */
    double bytes_per_second;
};

/* Pure. If time or bytes decrease, they count as unchanged. */
void progress_rate_update(struct progress_rate *rate, uint64_t bytes, uint64_t elapsed_usec);

struct progress {
    FILE *stream; /* NULL: nothing is drawn */
    uint64_t started_usec;
    uint64_t drawn_usec; /* 0: not yet */
    struct progress_rate rate;
};

/* Starts the clock. Progress is drawn only if `stream` is a terminal that can erase a line. */
void progress_start(struct progress *progress, FILE *stream);

/* Draws the line, at most about ten times per second. Sets `state->bytes_per_second`. */
void progress_draw(struct progress *progress, struct progress_state *state);

/* Erases the line. */
void progress_end(struct progress *progress);
