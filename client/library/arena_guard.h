/* Guards mappings of arenas against SIGBUS. If a thread reads beyond the end of a file that was
 * truncated, the whole mapping has zeros from then on, and its owner can see that it is lost. Any
 * other SIGBUS goes on to the action that was installed before the first guard. Any thread may use
 * this. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct arena_guard;

/* Guards a mapping. `is_lost` is set when a thread has read beyond the end of the file. NULL if
 * there are too many guarded mappings. */
struct arena_guard *arena_guard_new(const unsigned char *begin, size_t n_bytes,
                                    atomic_bool *is_lost);
/* Must be called before the range is unmapped. NULL is allowed. */
void arena_guard_free(struct arena_guard *guard);
