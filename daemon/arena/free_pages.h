/* Which pages of an arena are free: a bit for each page below the top, and all pages from the top
 * on. Pages that are free and consecutive are a run. No run touches the top: it would be a part of
 * what is above.
 *
 * A bitmap, because then it costs the same to free pages in any order: no list is walked, no tree
 * is balanced, and little memory is touched. It takes a bit for each page below the highest top so
 * far. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct page_run {
    uint64_t first_page, n_pages;
};

/* Zero-initialise it; all pages are free then. */
struct free_pages {
    uint64_t *words;   /* a bit for each page. Those of pages from the top on mean nothing. */
    uint64_t *summary; /* a bit for each word: whether it is not zero */
    uint64_t n_words;
    uint64_t top_page, n_runs;
    uint64_t steps; /* words that searches have looked at */
};

/* Obtains the memory for a top of `top_page`. Returns 0 or -ENOMEM. */
int free_pages_reserve(struct free_pages *pages, uint64_t top_page);
void free_pages_done(struct free_pages *pages);

/* Finds the first run that begins at `from_page` or later. */
bool free_pages_next(struct free_pages *pages, uint64_t from_page, struct page_run *ret);

/* The same, but runs shorter than FREE_PAGES_LONG may be left out. Takes a step for each 64 pages,
 * however many runs there are. */
enum { FREE_PAGES_LONG = 127 };
bool free_pages_next_long(struct free_pages *pages, uint64_t from_page, struct page_run *ret);

/* Takes the first `n_pages` of a run, or all of it. */
void free_pages_take(struct free_pages *pages, const struct page_run *run, uint64_t n_pages);
/* Takes pages at the top, which moves up. free_pages_reserve has succeeded for it. */
void free_pages_take_top(struct free_pages *pages, uint64_t n_pages);

/* Frees pages that were taken. If nothing above them is taken, the top moves down. */
void free_pages_release(struct free_pages *pages, uint64_t first_page, uint64_t n_pages);

/* Frees all pages. O(1). */
void free_pages_reset(struct free_pages *pages);
