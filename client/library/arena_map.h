/* The arena in this process's memory: mapped once, read-only, and layers as contiguous ranges of
 * it.
 *
 * A layer in one segment is a part of the one mapping. A layer in several is mapped a second time,
 * segment after segment, into a view; views that nobody uses are kept for the next time that a
 * layer lies in the same place, which then costs neither a system call nor a page fault.
 *
 * A file that is cut short leaves no signal to its readers: at the first read beyond its end the
 * map is lost, and who reads it, or a view, gets zeros from then on. To that end the first map
 * installs a handler for SIGBUS, which passes on what is not its own to the action that was there
 * before.
 *
 * Belongs to one thread at a time; the bytes may be read by any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena_map;
struct arena_view;

/* A run of a layer's bytes in the arena. */
struct arena_segment {
    uint64_t offset_bytes, n_bytes;
};

/* Maps `capacity_bytes` of the file; it may be shorter and grow later. Takes `fd` on success. 0;
 * -EBADMSG if that is no capacity; or a negative errno. The caller has a reference. */
int arena_map_new(int fd, uint64_t capacity_bytes, struct arena_map **ret);
struct arena_map *arena_map_ref(struct arena_map *map);
/* The last reference unmaps. NULL is allowed. Returns NULL. */
struct arena_map *arena_map_unref(struct arena_map *map);

/* Whether a reader has met the file's end. */
bool arena_map_is_lost(const struct arena_map *map);

/* Whether the map is of the file that `fd` is open on, and is not lost. */
bool arena_map_is_of(const struct arena_map *map, int fd);

/* A layer's bytes in memory, for as long as it is not done. */
struct arena_range {
    struct arena_map *map; /* a reference; NULL: nothing is mapped */
    struct arena_view *view;
    uint64_t end_bytes; /* the file must be so long */
    const unsigned char *data;
};

/* `n_segments` > 0. 0; -EBADMSG if the segments are not whole pages where they must be, or outside
 * of the capacity; -ENODATA if the file ends before them; or a negative errno. */
int arena_range_init(struct arena_range *range, struct arena_map *map,
                     const struct arena_segment *segments, size_t n_segments);
/* Whether the map is lost, or the file has become too short since. */
bool arena_range_is_lost(const struct arena_range *range);
/* Safe on a zeroed one, and leaves one. */
void arena_range_done(struct arena_range *range);
