/* Whether the machine has the memory for an arena, asked before any of it is committed. What is
 * refused leaves a reason with its figures in `why`, which has CAPACITY_WHY_MAX bytes. */
#pragma once

#include <stdint.h>

enum { CAPACITY_WHY_MAX = 512 };

/* Writes the reason and returns `error`. */
int capacity_refuse(char *why, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What `n_bytes` cost: the pages, and the page tables that map them if none is huge. UINT64_MAX
 * where 64 bits do not suffice. */
uint64_t capacity_cost_bytes(uint64_t n_bytes, uint64_t page_bytes);

/* For an arena of `capacity_bytes` of which `missing_bytes` are not committed yet. 0; -E2BIG if
 * there can never be as much; -ENOMEM if there is less now; or another negative errno. */
int capacity_check(uint64_t capacity_bytes, uint64_t missing_bytes, uint64_t page_bytes, char *why);

/* The same for reserved huge pages: those of the pool that nobody has reserved yet. */
int capacity_check_pool(uint64_t capacity_bytes, uint64_t page_bytes, char *why);
