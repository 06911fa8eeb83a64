/* Checks whether the machine has the memory for an arena, before any of it is committed. On a
 * refusal `why`, which has CAPACITY_WHY_MAX bytes, receives the reason with its figures. */
#pragma once

#include <stdint.h>

enum { CAPACITY_WHY_MAX = 512 };

/* Writes the reason and returns `error`. */
int capacity_refuse(char *why, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The memory that `n_bytes` need: the pages, and the page tables that map them if no page is huge.
 * UINT64_MAX if 64 bits do not suffice. */
uint64_t capacity_cost_bytes(uint64_t n_bytes, uint64_t page_bytes);

/* Checks an arena of `capacity_bytes`, of which `missing_bytes` are not committed yet. Returns 0;
 * -E2BIG if the machine can never have as much; -ENOMEM if it has less now; or another negative
 * errno. */
int capacity_check(uint64_t capacity_bytes, uint64_t missing_bytes, uint64_t page_bytes, char *why);

/* The same for reserved huge pages: checks the pages of the pool that are free and not reserved. */
int capacity_check_pool(uint64_t capacity_bytes, uint64_t page_bytes, char *why);

/* Checks only whether there is memory for `n_bytes` more now. Returns 0, -ENOMEM, or another
 * negative errno. */
int capacity_check_now(uint64_t n_bytes, uint64_t page_bytes);
