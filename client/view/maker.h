/* Makes a view of a mapping that the engine asks for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whether this thread is in maker_map. Then its mappings are the library's own. */
bool maker_is_inside(void);

/* Makes a mapping of a model's file, as mmap(2) would, as a view. NULL: the caller should make a
 * plain mapping. */
void *maker_map(size_t n_bytes, int prot, int flags, int fd, off64_t offset);
