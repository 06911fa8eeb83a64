/* The private parts of a backing. Only the files backing*.c include it. */
#pragma once

#include <stdint.h>

struct backing {
    int fd;
    unsigned char *base;
    uint64_t capacity_bytes, page_bytes;
    int huge_pages, commit; /* enum huge_pages and enum commit */
    uint64_t huge_bytes;    /* size of a transparent huge page; 0 if the mapping gets none */
    uint64_t unit_bytes;    /* in which memory is given back to the system */
    uint64_t mark_bytes, pending_bytes;
    uint64_t hole_bytes, moving_bytes;
};
