/* Notices a program that copies the weights of a view into memory of its own, which the arena's
 * capacity does not limit: from one fault to the next this memory grows by what was read. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct copy_watch { /* zeroed to begin with */
    uint64_t read_bytes, copied_bytes;
    uint64_t unit_bytes, anonymous_bytes; /* at the last fault */
    bool is_over;
};

/* At a fault on a unit, before the program can read it; `view_bytes` is the size of all units. True
 * once: the program has read half of the view, and has copied most of that. */
bool copy_watch_note(struct copy_watch *watch, uint64_t unit_bytes, uint64_t view_bytes);

/* The same, told how much memory of its own the process has. Pure. */
bool copy_watch_count(struct copy_watch *watch, uint64_t unit_bytes, uint64_t view_bytes,
                      uint64_t anonymous_bytes);
