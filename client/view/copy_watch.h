/* Notices that a program copies the weights of a view into its own memory, which the arena's
 * capacity does not limit. Then this memory grows from one unit to the next by the size of the
 * unit that was read. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct copy_watch { /* must be zeroed first */
    uint64_t read_bytes, copied_bytes;
    uint64_t unit_bytes, anonymous_bytes; /* at the last call */
    bool is_over;
};

/* Must be called when a thread comes to a unit that was mapped, at best before it can read it.
 * `view_bytes` is the size of all units. Returns true once, when the program has read half of the
 * view and has copied most of it. */
bool copy_watch_note(struct copy_watch *watch, uint64_t unit_bytes, uint64_t view_bytes);

/* The same, but the caller gives the size of the process's own memory. Pure. */
bool copy_watch_count(struct copy_watch *watch, uint64_t unit_bytes, uint64_t view_bytes,
                      uint64_t anonymous_bytes);
