#include "daemon/monitor/history.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* The file: this header, and the points as in memory. */
struct header {
    char magic[8];
    uint32_t n_points, point_bytes;
};

static const struct header present = {"EMHistor", HISTORY_POINTS, sizeof(struct history_point)};

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool write_at(int fd, const void *data, size_t n_bytes, size_t offset)
{
    return pwrite(fd, data, n_bytes, (off_t)offset) == (ssize_t)n_bytes;
}

void history_keep(struct history *history, int fd)
{
    struct header header;
    struct history_point points[HISTORY_POINTS];

    if (pread(fd, &header, sizeof header, 0) == sizeof header &&
        memcmp(&header, &present, sizeof header) == 0 &&
        pread(fd, points, sizeof points, sizeof header) == sizeof points)
        memcpy(history->points, points, sizeof points);
    if (write_at(fd, &present, sizeof present, 0) &&
        write_at(fd, history->points, sizeof history->points, sizeof present))
        history->fd = fd;
}

void history_note(struct history *history, const struct history_point *point)
{
    uint64_t step = point->at_usec / HISTORY_STEP_USEC;
    size_t index = step % HISTORY_POINTS;
    struct history_point *kept = &history->points[index];

    if (kept->at_usec / HISTORY_STEP_USEC != step) {
        *kept = *point;
    } else {
        kept->rss_bytes = larger(kept->rss_bytes, point->rss_bytes);
        kept->arena_bytes = larger(kept->arena_bytes, point->arena_bytes);
    }
    if (history->fd > 0)
        write_at(history->fd, kept, sizeof *kept, sizeof present + index * sizeof *kept);
}

size_t history_list(const struct history *history, uint64_t now_usec,
                    struct history_point ret[static HISTORY_POINTS])
{
    uint64_t now_step = now_usec / HISTORY_STEP_USEC;
    uint64_t first = now_step < HISTORY_POINTS ? 1 : now_step - HISTORY_POINTS + 1;
    size_t n = 0;

    for (uint64_t step = first; step <= now_step; step++) {
        const struct history_point *point = &history->points[step % HISTORY_POINTS];
        if (point->at_usec / HISTORY_STEP_USEC == step)
            ret[n++] = *point;
    }
    return n;
}
