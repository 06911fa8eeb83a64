/* The arena's memory: one memfd, mapped read-write and shared, once.
 *
 * commit = boot: every page is committed before backing_new returns, on all cores. commit = load:
 * the file's size is the arena's high-water mark and grows with it, because a reader of a hole of a
 * longer file would commit memory behind the ledger; the loader commits the pages.
 * The file's mode is 0400 and it has no seals; MADV_DONTDUMP keeps it out of cores. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum huge_pages { HUGE_PAGES_AUTO, HUGE_PAGES_NEVER, HUGE_PAGES_RESERVED };
enum commit { COMMIT_BOOT, COMMIT_LOAD };

struct backing_config {
    uint64_t capacity_bytes;
    enum huge_pages huge_pages;
    enum commit commit;
    bool mlock;
};

enum { BACKING_WHY_MAX = 512 /* as CAPACITY_WHY_MAX */ };

struct backing;

/* Obtains the memory. 0; -EINVAL (less than a page), -E2BIG (the machine or a cgroup can never have
 * as much), -ENOMEM (there is less now, or the huge-page pool is too small), -EPERM (mlock) or
 * another errno, with `ret_why` saying what was
 * asked for, what there is, and what would help. Refuses before anything is committed. */
int backing_new(const struct backing_config *config, struct backing **ret,
                char ret_why[static BACKING_WHY_MAX]);
/* Takes over the memory of an earlier process, also on failure, instead of obtaining some: what is
 * committed stays so, with the bytes in it; what is not is committed as the configuration says. The
 * file must be what backing_new would have made, but for its length with commit = load. 0; -ESTALE
 * (another capacity or kind of page); or as above. */
int backing_adopt(const struct backing_config *config, int fd, struct backing **ret,
                  char ret_why[static BACKING_WHY_MAX]);
struct backing *backing_free(struct backing *backing);
DEFINE_CLEANUP(struct backing *, backing_free);

/* Gives the memory back to the system at once, whoever else has the file mapped: they get SIGBUS.
 * Only backing_free may follow. */
void backing_discard(struct backing *backing);

/* Of the one mapping; capacity_bytes long. */
unsigned char *backing_base(const struct backing *backing);
int backing_fd(const struct backing *backing); /* borrowed */

/* The arena's file, opened anew and read-only for one client, so that no client shares flags,
 * offset or locks with another. The caller owns the descriptor; or a negative errno. */
int backing_open_for_client(const struct backing *backing);
uint64_t backing_capacity_bytes(const struct backing *backing); /* rounded down to pages */
uint64_t backing_page_bytes(const struct backing *backing);
/* What was obtained: "plain-pages", "transparent-huge-pages" or "reserved-huge-pages". With commit
 * = boot, transparent means that the mapping holds at least one such page (smaps); with commit =
 * load, that a scratch memfd was given one at start. Where that fails, the mapping keeps to plain
 * pages. */
const char *backing_name(const struct backing *backing);
bool backing_has_huge_pages(const struct backing *backing); /* of either kind */
enum commit backing_commit(const struct backing *backing);

/* How long the file is: with commit = load, how far the arena was ever in use. */
uint64_t backing_mark_bytes(const struct backing *backing);

/* commit = load: makes [0, mark_bytes) usable; the new part counts as pending until
 * backing_committed reports that somebody has written it all. No-op with commit = boot. Loop
 * thread only. 0 or a negative errno (-ENOMEM: the machine no longer has the room), and then
 * nothing changed. */
int backing_grow(struct backing *backing, uint64_t mark_bytes, uint64_t *ret_new_bytes);
void backing_committed(struct backing *backing, uint64_t new_bytes);

/* Commits pages without changing their bytes. The range begins on a page of the system, lies below
 * the mark and is nobody else's to write. Any thread. 0 or a negative errno. */
int backing_populate(struct backing *backing, uint64_t offset_bytes, uint64_t n_bytes);

/* The ledger that the monitor compares the operating system with: what is certainly committed, and
 * what may be on top of it (loads in flight). */
uint64_t backing_committed_bytes(const struct backing *backing);
uint64_t backing_pending_bytes(const struct backing *backing);
/* What the kernel may commit beyond both: with commit = load, the rest of a transparent huge page
 * that reaches past the mark; else 0. */
uint64_t backing_ahead_bytes(const struct backing *backing);
