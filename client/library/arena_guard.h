/* Mappings of arenas, guarded against SIGBUS: who reads beyond the end of a file that was cut short
 * gets zeros from then on, in the whole mapping, and the mapping's owner can see that it is lost.
 * Any other SIGBUS goes on to the action that was there before the first guard. Any thread. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct arena_guard;

/* Guards a mapping. `is_lost` is set when a reader has met the file's end. NULL if there are more
 * mappings than a process may have. */
struct arena_guard *arena_guard_new(const unsigned char *begin, size_t n_bytes,
                                    atomic_bool *is_lost);
/* Before the range is unmapped. NULL is allowed. */
void arena_guard_free(struct arena_guard *guard);
