/* Maps a memory file so that huge pages fit. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Maps `n_bytes` of `fd`, shared and writable, at a multiple of `align_bytes`. Returns NULL on
 * failure, with errno: ENOMEM if there are not enough addresses. */
unsigned char *memory_map(int fd, uint64_t n_bytes, uint64_t align_bytes);

/* Whether the system gives transparent huge pages of `huge_bytes` to a memfd that asks for them. It
 * interprets no setting, and touches one page to find out. */
bool memory_map_probe_huge(size_t huge_bytes);
