/* Commits memory: writes to each page of a mapping once, without changing its bytes. The functions
 * return 0 or a negative errno: -ENOMEM where a plain write would raise SIGBUS. */
#pragma once

#include <stdint.h>

/* Any thread. */
int populate(unsigned char *begin, uint64_t n_bytes, uint64_t page_bytes);

/* Works on every core that this process may use, and returns when all pages are committed.
 * `n_bytes` > 0. */
int populate_on_all_cores(unsigned char *begin, uint64_t n_bytes, uint64_t page_bytes);
