/* Maps the arena into this process, once and read-only, and makes each layer a contiguous range of
 * memory.
 *
 * A layer in one segment is a part of that mapping. A layer in several segments is mapped a second
 * time, segment after segment, into a view. Unused views are kept: if a layer occupies the same
 * segments again, that needs neither a system call nor a page fault.
 *
 * If the file is truncated, the map is lost at the first read beyond the new end. Readers of the
 * map and of its views then get zeros instead of SIGBUS. For this the first map installs a SIGBUS
 * handler, which passes foreign signals on to the action that was installed before.
 *
 * Only one thread at a time may use a map; any thread may read the bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena_map;
struct arena_view;

/* Consecutive bytes of a layer in the arena. */
struct arena_segment {
    uint64_t offset_bytes, n_bytes;
};

/* Maps `capacity_bytes` of the file, which may be shorter and grow later. Takes ownership of `fd`
 * on success. 0; -EBADMSG if the capacity is invalid; or a negative errno. The caller owns a
 * reference. */
int arena_map_new(int fd, uint64_t capacity_bytes, struct arena_map **ret);
struct arena_map *arena_map_ref(struct arena_map *map);
/* The last reference unmaps. NULL is allowed. Returns NULL. */
struct arena_map *arena_map_unref(struct arena_map *map);

/* Whether a thread has read beyond the end of the file. */
bool arena_map_is_lost(const struct arena_map *map);

/* Whether the map is of the file that `fd` is open on, and is not lost. */
bool arena_map_is_of(const struct arena_map *map, int fd);

/* A layer's bytes in memory, valid until arena_range_done. */
struct arena_range {
    struct arena_map *map; /* a reference; NULL: nothing is mapped */
    struct arena_view *view;
    uint64_t end_bytes; /* the minimum length of the file */
    const unsigned char *data;
};

/* `n_segments` > 0. 0; -EBADMSG if a segment has parts of pages where it must have whole pages, or
 * is outside of the capacity; -ENODATA if the file ends before the last segment ends; or a negative
 * errno. */
int arena_range_init(struct arena_range *range, struct arena_map *map,
                     const struct arena_segment *segments, size_t n_segments);
/* How many of the segments, from the first on, can be one range: where two of them meet, one page
 * ends and another begins. At least 1. */
size_t arena_map_count_joined(const struct arena_map *map, const struct arena_segment *segments,
                              size_t n_segments);
/* Whether the map is lost, or the file is now too short for the range. */
bool arena_range_is_lost(const struct arena_range *range);
/* Zeroes the range. A zeroed range is allowed. */
void arena_range_done(struct arena_range *range);
