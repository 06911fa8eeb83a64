/* Counts durations in buckets of fixed bounds, as Prometheus wants them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 16 };
extern const uint64_t histogram_bounds_usec[HISTOGRAM_BOUNDS]; /* inclusive, ascending */

struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* each bucket alone; the last has what is beyond all */
    uint64_t sum_usec;
};

void histogram_add(struct histogram *histogram, uint64_t usec);
