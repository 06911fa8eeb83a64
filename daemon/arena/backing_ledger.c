/* Owns the count of the arena's committed bytes, and what changes it.
 *
 * Invariant: the file's size is the mark. [0, mark) is committed, except the pending_bytes, whose
 * loads are in flight; the hole_bytes, which were given back to the system; and the moving_bytes,
 * which are being given back or taken again.
 *
 * Leaves to others: the comparison with the operating system's figures (monitor). */
#include "daemon/arena/backing.h"

#include "daemon/arena/backing_internal.h"
#include "daemon/arena/capacity_check.h"
#include "daemon/arena/populate.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Makes the file longer. When ftruncate sets the size, hugetlbfs releases the pool's pages that are
 * reserved for the rest of the mapping. A new writable mapping sets the size, too, and releases
 * none. */
static int set_size(const struct backing *backing, uint64_t mark_bytes)
{
    if (backing->huge_pages != HUGE_PAGES_RESERVED)
        return ftruncate(backing->fd, (off_t)mark_bytes) < 0 ? -errno : 0;
    size_t n_bytes = (size_t)(mark_bytes - backing->mark_bytes);
    void *part = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, backing->fd,
                      (off_t)backing->mark_bytes);
    if (part == MAP_FAILED)
        return -errno;
    munmap(part, n_bytes);
    return 0;
}

int backing_grow(struct backing *backing, uint64_t mark_bytes, uint64_t *ret_new_bytes)
{
    if (mark_bytes > backing->capacity_bytes || mark_bytes % backing->page_bytes != 0)
        return -EINVAL;
    uint64_t new_bytes = 0;
    if (mark_bytes > backing->mark_bytes) {
        new_bytes = mark_bytes - backing->mark_bytes;
        struct stat status;
        int r;
        if (backing->huge_pages != HUGE_PAGES_RESERVED) {
            if (fstat(backing->fd, &status) < 0)
                return -errno;
            /* What was given back is taken again only by fills of those pages. */
            uint64_t file_bytes = (uint64_t)status.st_blocks * 512 + backing->hole_bytes;
            if (file_bytes < mark_bytes &&
                (r = capacity_check_now(mark_bytes - file_bytes, backing->page_bytes)) < 0)
                return r;
        }
        if ((r = set_size(backing, mark_bytes)) < 0)
            return r;
        backing->mark_bytes = mark_bytes;
        backing->pending_bytes += new_bytes;
    }
    *ret_new_bytes = new_bytes;
    return 0;
}

void backing_committed(struct backing *backing, uint64_t new_bytes)
{
    assert(new_bytes <= backing->pending_bytes);
    backing->pending_bytes -= new_bytes;
}

int backing_populate(struct backing *backing, uint64_t offset_bytes, uint64_t n_bytes)
{
    assert(offset_bytes <= backing->capacity_bytes &&
           n_bytes <= backing->capacity_bytes - offset_bytes);
    return populate(backing->base + offset_bytes, n_bytes, backing->page_bytes);
}

uint64_t backing_committed_bytes(const struct backing *backing)
{
    return backing->mark_bytes - backing->pending_bytes - backing->hole_bytes -
           backing->moving_bytes;
}

uint64_t backing_pending_bytes(const struct backing *backing)
{
    return backing->pending_bytes + backing->moving_bytes;
}

uint64_t backing_ahead_bytes(const struct backing *backing)
{
    return backing->commit == COMMIT_LOAD ? backing->huge_bytes : 0;
}

uint64_t backing_unit_bytes(const struct backing *backing)
{
    return backing->unit_bytes;
}

uint64_t backing_hole_bytes(const struct backing *backing)
{
    return backing->hole_bytes;
}

bool backing_next_hole(const struct backing *backing, uint64_t from_bytes, uint64_t *ret_begin,
                       uint64_t *ret_end)
{
    uint64_t unit_bytes = backing->unit_bytes;
    off_t data = (off_t)from_bytes, file_end = lseek(backing->fd, 0, SEEK_END);
    for (;;) {
        off_t hole = lseek(backing->fd, data, SEEK_HOLE);
        if (hole < 0 || hole >= file_end)
            return false; /* a file ends with a hole of no length */
        data = lseek(backing->fd, hole, SEEK_DATA);
        if (data < 0)
            data = file_end;
        uint64_t begin = ((uint64_t)hole + unit_bytes - 1) / unit_bytes * unit_bytes;
        uint64_t end = (uint64_t)data / unit_bytes * unit_bytes;
        if (begin < end) {
            *ret_begin = begin;
            *ret_end = end;
            return true;
        }
        if (data >= file_end)
            return false;
    }
}

int backing_punch(const struct backing *backing, uint64_t offset_bytes, uint64_t n_bytes)
{
    while (fallocate(backing->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset_bytes,
                     (off_t)n_bytes) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

void backing_begin_move(struct backing *backing, uint64_t n_bytes, bool from_hole)
{
    assert(!from_hole || n_bytes <= backing->hole_bytes);
    if (from_hole)
        backing->hole_bytes -= n_bytes;
    backing->moving_bytes += n_bytes;
}

void backing_end_move(struct backing *backing, uint64_t n_bytes, bool to_hole)
{
    assert(n_bytes <= backing->moving_bytes);
    backing->moving_bytes -= n_bytes;
    if (to_hole)
        backing->hole_bytes += n_bytes;
}
