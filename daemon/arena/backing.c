/* Owns how the arena's memory is obtained: its memfd and its one mapping. No page is committed
 * before every check that can refuse has passed, and a later failure frees the committed pages.
 *
 * Leaves to others: the count of its committed bytes (backing_ledger.c), which pages belong to
 * which allocation (arena), writing them (loader). */
#include "daemon/arena/backing.h"

#include "common/address_space.h"
#include "common/arena_locks.h"
#include "common/page.h"
#include "common/units.h"
#include "daemon/arena/backing_internal.h"
#include "daemon/arena/capacity_check.h"
#include "daemon/arena/client_locks.h"
#include "daemon/arena/memory_map.h"
#include "daemon/arena/populate.h"
#include "daemon/system/procfs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum {
    PLAIN_UNIT_BYTES = 256 << 10, /* a multiple of every page that is not huge */
    ALL_CORES_BYTES = 64 << 20,   /* from here on several threads are worth it */
};

_Static_assert((int)BACKING_WHY_MAX == (int)CAPACITY_WHY_MAX, "one buffer");

static int lock(const struct backing *backing, char *why)
{
    /* With MLOCK_ONFAULT the kernel checks the limit before a page is committed, and locks each
     * page when it is populated. */
    if (mlock2(backing->base, backing->capacity_bytes, MLOCK_ONFAULT) == 0)
        return 0;
    int error = errno;
    struct rlimit limit = {0};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
    if (error != EPERM && error != ENOMEM && error != EAGAIN)
        return capacity_refuse(why, -error, "mlock=yes: cannot lock the arena: %s",
                               strerror(error));
    return capacity_refuse(
        why, -EPERM,
        "mlock=yes needs %s of locked memory, but RLIMIT_MEMLOCK is %s; raise it "
        "(LimitMEMLOCK=), grant CAP_IPC_LOCK, or set mlock=no",
        size_format(backing->capacity_bytes, a), size_format(limit.rlim_cur, b));
}

static bool holds_huge_pages(const struct backing *backing)
{
    _cleanup_(closep) int smaps = procfs_open("/proc", "self/smaps");
    struct procfs_mapping mapping;
    return smaps >= 0 &&
           procfs_mapping(smaps, backing->base, backing->capacity_bytes, &mapping) == 0 &&
           mapping.huge_bytes > 0;
}

/* Makes the arena's file read-only for clients, and rounds the capacity down to the file's
 * pages. */
static int open_file(struct backing *backing, const struct backing_config *config, char *why)
{
    struct statfs filesystem;
    if (backing->fd < 0 || fchmod(backing->fd, 0400) < 0 || fstatfs(backing->fd, &filesystem) < 0)
        return capacity_refuse(why, -errno, "cannot create the arena's memory file%s: %s",
                               config->huge_pages == HUGE_PAGES_RESERVED ? " of reserved huge pages"
                                                                         : "",
                               strerror(errno));
    backing->page_bytes = (uint64_t)filesystem.f_bsize;
    backing->capacity_bytes = config->capacity_bytes - config->capacity_bytes % backing->page_bytes;
    char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
    if (backing->capacity_bytes == 0)
        return capacity_refuse(why, -EINVAL, "a capacity of %s is less than one page (%s)",
                               size_format(config->capacity_bytes, a),
                               size_format(backing->page_bytes, b));
    return 0;
}

static int map_file(struct backing *backing, const struct backing_config *config, char *why)
{
    uint64_t n_bytes = backing->capacity_bytes, huge_bytes;
    char size[SIZE_TEXT_MAX], text[ADDRESS_SPACE_TEXT_MAX];
    if (config->huge_pages == HUGE_PAGES_AUTO &&
        procfs_read_number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", &huge_bytes) ==
            0 &&
        huge_bytes <= n_bytes && memory_map_probe_huge(huge_bytes))
        backing->huge_bytes = huge_bytes;
    backing->base = memory_map(backing->fd, n_bytes, backing->huge_bytes ?: backing->page_bytes);
    if (!backing->base)
        return capacity_refuse(
            why, -errno, "cannot map a capacity of %s: %s", size_format(n_bytes, size),
            errno == ENOMEM ? address_space_explain(n_bytes, text) : strerror(errno));
    if (madvise(backing->base, n_bytes, MADV_DONTDUMP) < 0)
        return capacity_refuse(why, -errno, "cannot keep the arena out of core dumps: %s",
                               strerror(errno));
    /* A kernel without transparent huge pages does not have these advices, and needs none. */
    if (config->huge_pages != HUGE_PAGES_RESERVED)
        (void)madvise(backing->base, n_bytes,
                      backing->huge_bytes ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    /* With advice for huge pages, a page may become a huge one at any time. */
    backing->unit_bytes = backing->huge_bytes                      ? backing->huge_bytes
                          : backing->page_bytes > PLAIN_UNIT_BYTES ? backing->page_bytes
                                                                   : (uint64_t)PLAIN_UNIT_BYTES;
    return config->mlock ? lock(backing, why) : 0;
}

/* Commits all pages, for commit = boot. Pages of an adopted file keep their bytes. */
static int commit_all(struct backing *backing, char *why)
{
    char size[SIZE_TEXT_MAX];
    int r =
        ftruncate(backing->fd, (off_t)backing->capacity_bytes) < 0
            ? -errno
            : populate_on_all_cores(backing->base, backing->capacity_bytes, backing->page_bytes);
    if (r < 0)
        return capacity_refuse(why, r, "cannot commit %s of memory: %s",
                               size_format(backing->capacity_bytes, size), strerror(-r));
    backing->mark_bytes = backing->capacity_bytes;
    if (backing->huge_bytes && !holds_huge_pages(backing))
        backing->huge_bytes = 0;
    return 0;
}

static struct backing *make(const struct backing_config *config, int fd)
{
    struct backing *backing = calloc(1, sizeof *backing);
    if (!backing)
        return NULL;
    backing->huge_pages = config->huge_pages;
    backing->commit = config->commit;
    backing->fd = fd;
    return backing;
}

int backing_new(const struct backing_config *config, struct backing **ret,
                char ret_why[static BACKING_WHY_MAX])
{
    bool reserved = config->huge_pages == HUGE_PAGES_RESERVED;
    _cleanup_(closep) int fd =
        memfd_create("edgemind-arena", MFD_CLOEXEC | (reserved ? MFD_HUGETLB : 0u));
    _cleanup_(backing_freep) struct backing *backing = make(config, fd);
    if (!backing)
        return capacity_refuse(ret_why, -ENOMEM, "out of memory");
    fd = -1;

    int r = open_file(backing, config, ret_why);
    if (r == 0)
        r = reserved ? capacity_check_pool(backing->capacity_bytes, backing->page_bytes, ret_why)
                     : capacity_check(backing->capacity_bytes, backing->capacity_bytes,
                                      backing->page_bytes, ret_why);
    if (r == 0)
        r = map_file(backing, config, ret_why);
    if (r == 0 && config->commit == COMMIT_BOOT)
        r = commit_all(backing, ret_why);
    if (r == 0)
        *ret = TAKE_PTR(backing);
    return r;
}

/* Checks that this configuration would have made such a file. Returns also how many bytes of it are
 * committed. */
static int check_adopted(const struct backing *backing, uint64_t *ret_file_bytes, char *why)
{
    struct stat status;
    char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
    bool reserved = backing->huge_pages == HUGE_PAGES_RESERVED;

    if (fstat(backing->fd, &status) < 0)
        return capacity_refuse(why, -errno, "cannot examine the stored arena: %s", strerror(errno));
    uint64_t n_bytes = (uint64_t)status.st_size;
    if (!S_ISREG(status.st_mode) || reserved != (backing->page_bytes != system_page_bytes()))
        return capacity_refuse(why, -ESTALE, "the stored arena has pages of another kind");
    if (backing->commit == COMMIT_BOOT ? n_bytes != backing->capacity_bytes
                                       : n_bytes > backing->capacity_bytes)
        return capacity_refuse(why, -ESTALE, "the stored arena has %s, not %s",
                               size_format(n_bytes, a), size_format(backing->capacity_bytes, b));
    if (n_bytes % backing->page_bytes != 0)
        return capacity_refuse(why, -ESTALE, "the stored arena ends within a page");
    *ret_file_bytes = (uint64_t)status.st_blocks * 512;
    return 0;
}

static int commit_range(struct backing *backing, uint64_t begin, uint64_t end)
{
    if (begin >= end)
        return 0;
    return end - begin >= ALL_CORES_BYTES
               ? populate_on_all_cores(backing->base + begin, end - begin, backing->page_bytes)
               : populate(backing->base + begin, end - begin, backing->page_bytes);
}

/* Commits what an adopted file has already, and what is no whole unit, but leaves its holes. */
static int commit_beside_holes(struct backing *backing, char *why)
{
    struct stat status;
    uint64_t at = 0, begin, end;
    int r = fstat(backing->fd, &status) < 0 ? -errno : 0;

    backing->mark_bytes = r < 0 ? 0 : (uint64_t)status.st_size;
    while (r == 0 && backing_next_hole(backing, at, &begin, &end)) {
        r = commit_range(backing, at, begin);
        backing->hole_bytes += end - begin;
        at = end;
    }
    if (r == 0)
        r = commit_range(backing, at, backing->mark_bytes);
    if (r == 0 && backing->commit == COMMIT_BOOT && backing->huge_bytes &&
        backing->hole_bytes == 0 && !holds_huge_pages(backing))
        backing->huge_bytes = 0;
    return r < 0 ? capacity_refuse(why, r, "cannot commit the stored arena: %s", strerror(-r)) : 0;
}

int backing_adopt(const struct backing_config *config, int fd, struct backing **ret,
                  char ret_why[static BACKING_WHY_MAX])
{
    _cleanup_(closep) int owned = fd;
    _cleanup_(backing_freep) struct backing *backing = make(config, fd);
    uint64_t file_bytes = 0;
    if (!backing)
        return capacity_refuse(ret_why, -ENOMEM, "out of memory");
    owned = -1;

    int r = open_file(backing, config, ret_why);
    if (r == 0)
        r = check_adopted(backing, &file_bytes, ret_why);
    if (r == 0 && config->commit == COMMIT_BOOT && !config->keep_holes &&
        file_bytes < backing->capacity_bytes)
        r = capacity_check(backing->capacity_bytes, backing->capacity_bytes - file_bytes,
                           backing->page_bytes, ret_why);
    if (r == 0)
        r = map_file(backing, config, ret_why);
    if (r == 0 && config->keep_holes)
        r = commit_beside_holes(backing, ret_why);
    else if (r == 0 && config->commit == COMMIT_BOOT)
        r = commit_all(backing, ret_why);
    if (r < 0)
        return r;
    if (config->commit == COMMIT_LOAD && !config->keep_holes) {
        struct stat status;
        r = fstat(backing->fd, &status) < 0
                ? -errno
                : backing_populate(backing, 0, (uint64_t)status.st_size);
        if (r < 0)
            return capacity_refuse(ret_why, r, "cannot commit the stored arena: %s", strerror(-r));
        backing->mark_bytes = (uint64_t)status.st_size;
    }
    *ret = TAKE_PTR(backing);
    return 0;
}

struct backing *backing_free(struct backing *backing)
{
    if (!backing)
        return NULL;
    if (backing->base)
        munmap(backing->base, backing->capacity_bytes);
    closep(&backing->fd);
    free(backing);
    return NULL;
}

void backing_discard(struct backing *backing)
{
    enum { CLIENTS_USEC = 1000 * 1000 };

    /* Cannot fail, because the file belongs to this process and has no seals. */
    if (client_locks_end(backing->fd, CLIENTS_USEC))
        (void)!ftruncate(backing->fd, 0);
}

unsigned char *backing_base(const struct backing *backing)
{
    return backing->base;
}

int backing_fd(const struct backing *backing)
{
    return backing->fd;
}

int backing_open_for_client(const struct backing *backing)
{
    char path[sizeof "/proc/self/fd/-2147483648"];
    snprintf(path, sizeof path, "/proc/self/fd/%d", backing->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

bool backing_is_locked_before(const struct backing *backing, uint64_t id)
{
    return backing && client_locks_are_held(backing->fd, ARENA_LOCK_CLIENTS, id - 1);
}

uint64_t backing_capacity_bytes(const struct backing *backing)
{
    return backing->capacity_bytes;
}

uint64_t backing_page_bytes(const struct backing *backing)
{
    return backing->page_bytes;
}

bool backing_has_huge_pages(const struct backing *backing)
{
    return backing->huge_pages == HUGE_PAGES_RESERVED || backing->huge_bytes > 0;
}

const char *backing_name(const struct backing *backing)
{
    if (backing->huge_pages == HUGE_PAGES_RESERVED)
        return "reserved-huge-pages";
    return backing->huge_bytes ? "transparent-huge-pages" : "plain-pages";
}

uint64_t backing_mark_bytes(const struct backing *backing)
{
    return backing->mark_bytes;
}

enum commit backing_commit(const struct backing *backing)
{
    return backing->commit;
}
