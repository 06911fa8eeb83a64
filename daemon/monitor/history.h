/* The daemon's memory of the last hour: for each step of 10 s, the largest figures. A ring of fixed
 * size. Times are of the wall clock, so that they outlive the process. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { HISTORY_POINTS = 360, HISTORY_STEP_USEC = 10 * 1000 * 1000 };

struct history_point {
    uint64_t at_usec; /* the first sample of the step */
    uint64_t rss_bytes;
    uint64_t arena_bytes; /* what the arena's file held */
};

/* Step number i is at index i % HISTORY_POINTS. A point whose time does not belong to its place, or
 * is not of the last hour, is none. Zeroed: empty. */
struct history {
    struct history_point points[HISTORY_POINTS];
    int fd; /* borrowed; 0: none */
};

/* Takes over what an earlier process has written to the file, unless it is of another kind, and
 * writes each point to it from now on. A point that cannot be written is missing after a restart.
 */
void history_keep(struct history *history, int fd);

void history_note(struct history *history, const struct history_point *point);

/* Copies the points of the hour before `now_usec`, the oldest first. Returns how many. */
size_t history_list(const struct history *history, uint64_t now_usec,
                    struct history_point ret[static HISTORY_POINTS]);
