#include "common/histogram.h"

enum { MSEC = 1000, SEC = 1000 * MSEC };

const uint64_t histogram_bounds_usec[HISTOGRAM_BOUNDS] = {
    100,        500,        MSEC,       2 * MSEC, 5 * MSEC, 10 * MSEC, 20 * MSEC, 50 * MSEC,
    100 * MSEC, 200 * MSEC, 500 * MSEC, 1 * SEC,  2 * SEC,  5 * SEC,   10 * SEC,  30 * SEC,
};

void histogram_add(struct histogram *histogram, uint64_t usec)
{
    size_t i = 0;
    while (i < HISTOGRAM_BOUNDS && usec > histogram_bounds_usec[i])
        i++;
    histogram->counts[i]++;
    histogram->sum_usec += usec;
}
