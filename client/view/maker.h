/* Makes a view of a mapping that the engine asks for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whether this thread is inside: what it maps meanwhile is the library's own. */
bool maker_is_inside(void);

/* A mapping of a model's file as mmap(2) would make it, as a view; or NULL: map it plainly. */
void *maker_map(size_t n_bytes, int prot, int flags, int fd, off_t offset);
