#include "daemon/monitor/memory_history.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* The file: this header, and the points as in memory. */
struct header {
    char magic[8];
    uint32_t n_points, point_bytes;
};

static const struct header present = {"EMHistBt", MEMORY_HISTORY_POINTS,
                                      sizeof(struct memory_point)};

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool write_at(int fd, const void *data, size_t n_bytes, size_t offset)
{
    return pwrite(fd, data, n_bytes, (off_t)offset) == (ssize_t)n_bytes;
}

void memory_history_keep(struct memory_history *history, int fd)
{
    struct header header;
    struct memory_point points[MEMORY_HISTORY_POINTS];

    if (pread(fd, &header, sizeof header, 0) == sizeof header &&
        memcmp(&header, &present, sizeof header) == 0 &&
        pread(fd, points, sizeof points, sizeof header) == sizeof points)
        memcpy(history->points, points, sizeof points);
    if (write_at(fd, &present, sizeof present, 0) &&
        write_at(fd, history->points, sizeof history->points, sizeof present))
        history->fd = fd;
}

void memory_history_note(struct memory_history *history, const struct memory_point *point)
{
    uint64_t step = point->at_usec / MEMORY_HISTORY_STEP_USEC;
    size_t index = step % MEMORY_HISTORY_POINTS;
    struct memory_point *kept = &history->points[index];

    if (kept->at_usec / MEMORY_HISTORY_STEP_USEC != step) {
        *kept = *point;
    } else {
        kept->rss_bytes = larger(kept->rss_bytes, point->rss_bytes);
        kept->arena_bytes = larger(kept->arena_bytes, point->arena_bytes);
    }
    if (history->fd > 0)
        write_at(history->fd, kept, sizeof *kept, sizeof present + index * sizeof *kept);
}

size_t memory_history_list(const struct memory_history *history, uint64_t now_usec,
                           struct memory_point ret[static MEMORY_HISTORY_POINTS])
{
    uint64_t now_step = now_usec / MEMORY_HISTORY_STEP_USEC;
    uint64_t first = now_step < MEMORY_HISTORY_POINTS ? 1 : now_step - MEMORY_HISTORY_POINTS + 1;
    size_t n = 0;

    for (uint64_t step = first; step <= now_step; step++) {
        const struct memory_point *point = &history->points[step % MEMORY_HISTORY_POINTS];
        if (point->at_usec / MEMORY_HISTORY_STEP_USEC == step)
            ret[n++] = *point;
    }
    return n;
}
