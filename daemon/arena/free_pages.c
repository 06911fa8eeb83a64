/* Owns the bitmap and its summary, which lets a search pass over 4,096 taken pages at once.
 *
 * Invariant: below the top, a word's bit in the summary is set if the word is not zero. */
#include "daemon/arena/free_pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 64 };

static int grow(uint64_t **words, uint64_t n_before, uint64_t n_words)
{
    uint64_t *grown = reallocarray(*words, n_words, sizeof *grown);
    if (!grown)
        return -ENOMEM;
    memset(grown + n_before, 0, (n_words - n_before) * sizeof *grown);
    *words = grown;
    return 0;
}

int free_pages_reserve(struct free_pages *pages, uint64_t top_page)
{
    uint64_t n_words = top_page / BITS + 1;
    if (n_words <= pages->n_words)
        return 0;
    if (n_words < 2 * pages->n_words)
        n_words = 2 * pages->n_words;
    n_words = (n_words / BITS + 1) * BITS; /* whole words of the summary */
    int r = grow(&pages->words, pages->n_words, n_words);
    if (r == 0)
        r = grow(&pages->summary, pages->n_words / BITS, n_words / BITS);
    if (r == 0)
        pages->n_words = n_words;
    return r;
}

void free_pages_done(struct free_pages *pages)
{
    free(pages->words);
    free(pages->summary);
    *pages = (struct free_pages){0};
}

static bool is_free(const struct free_pages *pages, uint64_t page)
{
    return pages->words[page / BITS] >> page % BITS & 1;
}

/* All bits from `first` to `last`, which belong to one word. */
static uint64_t mask(uint64_t first, uint64_t last)
{
    return UINT64_MAX << first % BITS & UINT64_MAX >> (BITS - 1 - last % BITS);
}

static void mark(struct free_pages *pages, uint64_t first_page, uint64_t n_pages, bool is_free)
{
    uint64_t last_page = first_page + n_pages - 1;
    for (uint64_t i = first_page / BITS; i <= last_page / BITS; i++) {
        uint64_t first = i == first_page / BITS ? first_page : 0;
        uint64_t bits = mask(first, i == last_page / BITS ? last_page : BITS - 1);
        uint64_t bit = UINT64_C(1) << i % BITS;
        pages->words[i] = is_free ? pages->words[i] | bits : pages->words[i] & ~bits;
        if (pages->words[i] != 0)
            pages->summary[i / BITS] |= bit;
        else
            pages->summary[i / BITS] &= ~bit;
    }
}

/* The first free page from `page` on, or the top if there is none below it. */
static uint64_t next_free(struct free_pages *pages, uint64_t page)
{
    uint64_t i = page / BITS, n_words = (pages->top_page + BITS - 1) / BITS;
    if (page >= pages->top_page)
        return pages->top_page;
    uint64_t bits = pages->words[i] & UINT64_MAX << page % BITS;
    for (pages->steps++; bits == 0 && ++i < n_words; pages->steps++) {
        uint64_t rest = pages->summary[i / BITS] >> i % BITS;
        i = rest == 0 ? i | (BITS - 1) : i + (uint64_t)__builtin_ctzll(rest);
        bits = rest == 0 ? 0 : pages->words[i];
    }
    uint64_t found = bits == 0 ? pages->top_page : i * BITS + (uint64_t)__builtin_ctzll(bits);
    return found < pages->top_page ? found : pages->top_page;
}

/* The first taken page after `page`, which is free; there is one below the top. */
static uint64_t next_taken(struct free_pages *pages, uint64_t page)
{
    uint64_t i = page / BITS;
    uint64_t bits = ~pages->words[i] & UINT64_MAX << page % BITS;
    for (; bits == 0; pages->steps++)
        bits = ~pages->words[++i];
    return i * BITS + (uint64_t)__builtin_ctzll(bits);
}

/* The first page of the run that `page` belongs to. */
static uint64_t run_begin(const struct free_pages *pages, uint64_t page)
{
    uint64_t i = page / BITS;
    uint64_t bits = ~pages->words[i] & mask(0, page);
    while (bits == 0 && i > 0)
        bits = ~pages->words[--i];
    return bits == 0 ? 0 : i * BITS + BITS - (uint64_t)__builtin_clzll(bits);
}

bool free_pages_next(struct free_pages *pages, uint64_t from_page, struct page_run *ret)
{
    uint64_t first_page = next_free(pages, from_page);
    if (first_page == pages->top_page)
        return false;
    *ret = (struct page_run){first_page, next_taken(pages, first_page) - first_page};
    return true;
}

/* Such a run covers a word, so the others need no look. */
bool free_pages_next_long(struct free_pages *pages, uint64_t from_page, struct page_run *ret)
{
    for (uint64_t i = (from_page + BITS - 1) / BITS; (i + 1) * BITS <= pages->top_page; i++) {
        pages->steps++;
        if (pages->words[i] != UINT64_MAX)
            continue;
        uint64_t first_page = run_begin(pages, i * BITS);
        *ret = (struct page_run){first_page, next_taken(pages, i * BITS) - first_page};
        return true;
    }
    return false;
}

void free_pages_take(struct free_pages *pages, const struct page_run *run, uint64_t n_pages)
{
    mark(pages, run->first_page, n_pages, false);
    pages->n_runs -= n_pages == run->n_pages;
}

void free_pages_take_top(struct free_pages *pages, uint64_t n_pages)
{
    mark(pages, pages->top_page, n_pages, false);
    pages->top_page += n_pages;
}

void free_pages_release(struct free_pages *pages, uint64_t first_page, uint64_t n_pages)
{
    uint64_t end_page = first_page + n_pages;
    bool is_after_run = first_page > 0 && is_free(pages, first_page - 1);

    if (end_page == pages->top_page) {
        pages->n_runs -= is_after_run;
        pages->top_page = is_after_run ? run_begin(pages, first_page - 1) : first_page;
        return;
    }
    mark(pages, first_page, n_pages, true);
    pages->n_runs += 1;
    pages->n_runs -= (uint64_t)is_after_run + is_free(pages, end_page);
}

void free_pages_reset(struct free_pages *pages)
{
    pages->top_page = 0;
    pages->n_runs = 0;
}
