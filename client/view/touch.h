/* Whether a thread has come to a page. A page of a file that is mapped but not populated gets its
 * entry in the page table when it is first read, which costs the thread about a microsecond, and
 * /proc/self/pagemap shows the entry (Documentation/admin-guide/mm/pagemap.rst). */
#pragma once

#include <stdbool.h>

/* Returns a descriptor, or a negative errno: without /proc it cannot be seen. */
int touch_open(void);

/* Whether the page at `page` has an entry. False if this cannot be seen. */
bool touch_is_seen(int fd, const void *page);
