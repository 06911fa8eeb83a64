/* Owns how the ledger's file is divided, checked, read and written. Leaves to ledger_steps.c what a
 * step is, and to ledger_recover.c what a whole file says. */
#include "daemon/restart/ledger_file.h"

#include "common/page.h"
#include "common/units.h"
#include "daemon/restart/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

int ledger_regions_offset(const struct ledger_arena *arena, uint64_t *ret_bytes)
{
    uint64_t bytes;
    if (arena->page_bytes == 0 || arena->capacity_bytes < arena->page_bytes)
        return -EINVAL;
    if (__builtin_mul_overflow(arena->capacity_bytes / arena->page_bytes,
                               (uint64_t)sizeof(struct ledger_link), &bytes) ||
        __builtin_add_overflow(bytes, (uint64_t)LEDGER_EXTENTS_OFFSET, &bytes) ||
        round_up(bytes, system_page_bytes(), &bytes) < 0 || bytes > INT64_MAX)
        return -EFBIG;
    *ret_bytes = bytes;
    return 0;
}

int ledger_make_header(const struct ledger_arena *arena, struct ledger_header *ret)
{
    struct stat status;
    if (fstat(arena->fd, &status) < 0)
        return -errno;
    *ret = (struct ledger_header){
        .magic = LEDGER_MAGIC,
        .version = LEDGER_VERSION,
        .device = (uint64_t)status.st_dev,
        .inode = (uint64_t)status.st_ino,
        .page_bytes = arena->page_bytes,
        .capacity_bytes = arena->capacity_bytes,
        .backing = arena->backing,
    };
    ret->crc = ledger_header_crc(ret);
    return 0;
}

uint32_t ledger_header_crc(const struct ledger_header *header)
{
    struct ledger_header copy = *header;
    copy.crc = 0;
    return crc32c(0, &copy, sizeof copy);
}

/* The checksum covers the place, too, so that a record in the wrong place counts as damaged. */
static uint32_t crc_in_place(uint64_t place, const void *bytes, size_t n_bytes)
{
    return crc32c(crc32c(0, &place, sizeof place), bytes, n_bytes);
}

uint32_t ledger_record_crc(const struct ledger_record *record, uint64_t place)
{
    size_t skip = sizeof record->crc;
    return crc_in_place(place, (const char *)record + skip, sizeof *record - skip);
}

uint32_t ledger_step_crc(const struct ledger_step *step)
{
    size_t skip = sizeof step->crc, end = offsetof(struct ledger_step, record) + skip;
    return crc_in_place(ledger_step_place(step->record.step), (const char *)step + skip,
                        end - skip);
}

uint32_t ledger_link_crc(const struct ledger_link *link, uint64_t place)
{
    size_t skip = sizeof link->crc;
    return crc_in_place(place, (const char *)link + skip, sizeof *link - skip);
}

int ledger_lock(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_SETLK, &whole) == 0)
        return 0;
    return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
}

int ledger_lay_out(uint64_t begin_bytes, uint64_t definition_bytes, uint32_t n_layers,
                   struct ledger_slot *ret)
{
    uint64_t records, end;
    if (__builtin_add_overflow(begin_bytes, definition_bytes, &records) ||
        round_up(records, sizeof(struct ledger_record), &records) < 0 ||
        __builtin_add_overflow(records, n_layers * sizeof(struct ledger_record), &end) ||
        round_up(end, system_page_bytes(), &end) < 0 || end > INT64_MAX)
        return -EOVERFLOW;
    ret->begin_bytes = begin_bytes;
    ret->records_bytes = records;
    ret->end_bytes = end;
    return 0;
}

int ledger_write(int fd, uint64_t offset_bytes, const void *from, size_t n_bytes)
{
    const char *at = from;
    while (n_bytes > 0) {
        ssize_t n = pwrite(fd, at, n_bytes, (off_t)offset_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        at += n;
        offset_bytes += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return 0;
}

int ledger_read(int fd, uint64_t offset_bytes, void *to, size_t n_bytes)
{
    char *at = to;
    while (n_bytes > 0) {
        ssize_t n = pread(fd, at, n_bytes, (off_t)offset_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EBADMSG;
        at += n;
        offset_bytes += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return 0;
}
