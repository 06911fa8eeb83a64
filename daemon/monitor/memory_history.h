/* The daemon's memory of the last hour: for each step of 10 s, the largest figures. A ring of fixed
 * size. Times are those of clock_boottime_usec: they outlive the process, and a wall clock that is
 * set neither moves nor hides points. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { MEMORY_HISTORY_POINTS = 360, MEMORY_HISTORY_STEP_USEC = 10 * 1000 * 1000 };

struct memory_point {
    uint64_t at_usec; /* the first sample of the step */
    uint64_t rss_bytes;
    uint64_t arena_bytes; /* what the arena's file held */
};

/* Step number i is at index i % MEMORY_HISTORY_POINTS. A point whose time does not belong to its
 * place, or is not of the last hour, is none. Zeroed: empty. */
struct memory_history {
    struct memory_point points[MEMORY_HISTORY_POINTS];
    int fd; /* borrowed; 0: none */
};

/* Takes over what an earlier process has written to the file, unless it is of another kind, and
 * writes each point to it from now on. A point that cannot be written is missing after a restart.
 */
void memory_history_keep(struct memory_history *history, int fd);

void memory_history_note(struct memory_history *history, const struct memory_point *point);

/* Copies the points of the hour before `now_usec`, the oldest first. Returns how many. */
size_t memory_history_list(const struct memory_history *history, uint64_t now_usec,
                           struct memory_point ret[static MEMORY_HISTORY_POINTS]);
