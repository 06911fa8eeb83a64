/* The arena's memory: one memfd, with one shared read-write mapping.
 *
 * With commit = boot every page is committed, on all cores, before backing_new returns. With commit
 * = load the file's size is the arena's high-water mark and grows with it, and the loader commits
 * the pages. A longer file would have holes, and a client that reads a hole would commit memory
 * that the ledger does not count. The file's mode is 0400 and it has no seals. MADV_DONTDUMP keeps
 * it out of core dumps. */
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
    bool keep_holes; /* only of an adopted file: what was given back to the system stays so */
};

enum { BACKING_WHY_MAX = 512 /* the same as CAPACITY_WHY_MAX */ };

struct backing;

/* Obtains the memory. Returns 0; -EINVAL (less than a page), -E2BIG (the machine or a cgroup can
 * never have as much), -ENOMEM (there is less now, or the huge-page pool is too small), -EPERM
 * (mlock) or another negative errno. On failure `ret_why` says what was requested, what is
 * available, and what would help. All checks that can refuse come before the first page is
 * committed. */
int backing_new(const struct backing_config *config, struct backing **ret,
                char ret_why[static BACKING_WHY_MAX]);
/* Takes over the memory of an earlier process instead of obtaining new memory. Takes `fd`, also on
 * failure. Committed pages keep their bytes; the others are committed as the configuration says.
 * The file must be like one that backing_new would make, except for its length with commit = load.
 * Returns 0; -ESTALE (another capacity or kind of page); or the errors of backing_new. */
int backing_adopt(const struct backing_config *config, int fd, struct backing **ret,
                  char ret_why[static BACKING_WHY_MAX]);
struct backing *backing_free(struct backing *backing);
DEFINE_CLEANUP(struct backing *, backing_free);

/* Returns the memory to the system at once, even if other processes have the file mapped: they get
 * SIGBUS. But clients with views are asked first, and if one of them keeps its mapping, as when it
 * is stopped, the memory stays until it is unmapped. After this only backing_free may be called. */
void backing_discard(struct backing *backing);

/* The start of the mapping, which is backing_capacity_bytes long. */
unsigned char *backing_base(const struct backing *backing);
int backing_fd(const struct backing *backing); /* borrowed */

/* Opens the arena's file again, read-only, for one client, so that no client shares flags, offset
 * or locks with another. Returns a descriptor, which the caller owns, or a negative errno. */
int backing_open_for_client(const struct backing *backing);
/* Whether a client has a lock of client_locks.h below `id`. False if `backing` is NULL. */
bool backing_is_locked_before(const struct backing *backing, uint64_t id);
uint64_t backing_capacity_bytes(const struct backing *backing); /* rounded down to pages */
uint64_t backing_page_bytes(const struct backing *backing);
/* The kind of pages obtained: "plain-pages", "transparent-huge-pages" or "reserved-huge-pages".
 * Transparent means, with commit = boot, that the mapping contains at least one such page (smaps);
 * with commit = load, that a scratch memfd got one at start. Otherwise the mapping uses plain pages
 * only. */
const char *backing_name(const struct backing *backing);
bool backing_has_huge_pages(const struct backing *backing); /* transparent or reserved */
enum commit backing_commit(const struct backing *backing);

/* The file's length. With commit = load it is the arena's high-water mark. */
uint64_t backing_mark_bytes(const struct backing *backing);

/* With commit = load, makes [0, mark_bytes) usable. The new part counts as pending until
 * backing_committed reports that all of it was written. Does nothing with commit = boot. Loop
 * thread only. Returns 0 or a negative errno (-ENOMEM: the machine no longer has enough memory),
 * and then nothing has changed. */
int backing_grow(struct backing *backing, uint64_t mark_bytes, uint64_t *ret_new_bytes);
void backing_committed(struct backing *backing, uint64_t new_bytes);

/* Commits pages without changing their bytes. The range must begin on a page of the system and lie
 * below the mark, and no other thread may write to it meanwhile. Any thread. Returns 0 or a
 * negative errno. */
int backing_populate(struct backing *backing, uint64_t offset_bytes, uint64_t n_bytes);

/* The unit in which memory may be given back to the system: a huge page, or 256 KiB of plain pages.
 */
uint64_t backing_unit_bytes(const struct backing *backing);
/* Gives the memory of whole units back. Nobody may write to them meanwhile, and nobody may need
 * what is in them. Any thread. Returns 0 or a negative errno. */
int backing_punch(const struct backing *backing, uint64_t offset_bytes, uint64_t n_bytes);
/* The ledger's side of it, on the loop thread: these bytes are being given back, or committed again
 * with backing_populate (from_hole); and they have memory now, or none (to_hole). */
void backing_begin_move(struct backing *backing, uint64_t n_bytes, bool from_hole);
void backing_end_move(struct backing *backing, uint64_t n_bytes, bool to_hole);
uint64_t backing_hole_bytes(const struct backing *backing); /* that were given back */
/* Finds whole units without memory from `from_bytes` on, as the file has them. */
bool backing_next_hole(const struct backing *backing, uint64_t from_bytes, uint64_t *ret_begin,
                       uint64_t *ret_end);

/* The ledger, with which the monitor compares the operating system's figures: the bytes that are
 * certainly committed, and those that loads in flight, or a move, may have committed, too. */
uint64_t backing_committed_bytes(const struct backing *backing);
uint64_t backing_pending_bytes(const struct backing *backing);
/* The bytes that the kernel may commit beyond both. With commit = load, this is the rest of a
 * transparent huge page that reaches past the mark; otherwise 0. */
uint64_t backing_ahead_bytes(const struct backing *backing);
