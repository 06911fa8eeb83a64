/* The backing that a test makes, fills, leaves to a next process and adopts, and the operating
 * system's figures for it. The fixture frees it. */
#pragma once

#include "daemon/arena/backing.h"
#include "daemon/system/procfs.h"
#include "tests/unit/count_open.h"
#include "tests/unit/run_in_child.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static uint64_t page;
static struct backing *backing;

static inline void setup(void)
{
    page = (uint64_t)sysconf(_SC_PAGESIZE);
}

static inline void teardown(void)
{
    backing = backing_free(backing);
}

/* Replaces the previous one. */
static inline void make_with(const struct backing_config *config)
{
    char why[BACKING_WHY_MAX] = "";

    backing = backing_free(backing);
    int r = backing_new(config, &backing, why);
    ck_assert_msg(r == 0, "%s", why);
}

static inline void make(uint64_t capacity_bytes, enum huge_pages huge_pages, enum commit commit)
{
    make_with(&(struct backing_config){capacity_bytes, huge_pages, commit, false});
}

static inline void grow_and_commit(uint64_t mark_bytes)
{
    uint64_t new_bytes = 0;

    ck_assert_int_eq(backing_grow(backing, mark_bytes, &new_bytes), 0);
    ck_assert_int_eq(backing_populate(backing, mark_bytes - new_bytes, new_bytes), 0);
    backing_committed(backing, new_bytes);
}

/* As the service manager does between two processes: the file stays when its mapping ends. */
static inline int leave(void)
{
    int fd = fcntl(backing_fd(backing), F_DUPFD_CLOEXEC, 3);

    ck_assert_int_ge(fd, 0);
    backing = backing_free(backing);
    return fd;
}

static inline void adopt_with(const struct backing_config *config, int fd)
{
    char why[BACKING_WHY_MAX] = "";
    int r = backing_adopt(config, fd, &backing, why);

    ck_assert_msg(r == 0, "%s", why);
}

static inline void adopt(uint64_t capacity_bytes, enum huge_pages huge_pages, enum commit commit,
                         int fd)
{
    adopt_with(&(struct backing_config){capacity_bytes, huge_pages, commit, false}, fd);
}

/* A different byte on every page, and more than one of them. */
static inline void write_pattern(uint64_t n_bytes)
{
    unsigned char *base = backing_base(backing);

    for (uint64_t i = 0; i < n_bytes; i += 509)
        base[i] = (unsigned char)(i / 509 * 7 + 3);
}

static inline bool has_pattern(uint64_t begin, uint64_t end)
{
    const unsigned char *base = backing_base(backing);

    for (uint64_t i = (begin + 508) / 509 * 509; i < end; i += 509)
        if (base[i] != (unsigned char)(i / 509 * 7 + 3))
            return false;
    return true;
}

/* The operating system's figures. */

static inline uint64_t proc_value(const char *file, const char *key)
{
    _cleanup_(closep) int fd = procfs_open("/proc", file);
    ck_assert_int_ge(fd, 0);
    struct procfs_reader reader;
    procfs_begin(&reader, fd);
    char *line;
    uint64_t value;
    while (procfs_next_line(&reader, &line) > 0)
        if (procfs_number(line, key, &value))
            return value;
    ck_abort_msg("%s lacks %s", file, key);
    return 0;
}

static inline uint64_t status_value(const char *key)
{
    return proc_value("self/status", key);
}

/* From Linux 6.16 on the counters are exact; before, up to 64 pages per thread or CPU are
 * missing. */
static inline uint64_t lag_bytes(void)
{
    struct utsname name;
    unsigned major = 0, minor = 0;

    uname(&name);
    sscanf(name.release, "%u.%u", &major, &minor);
    if (major > 6 || (major == 6 && minor >= 16))
        return 0;
    return 64 * page * (uint64_t)sysconf(_SC_NPROCESSORS_CONF);
}

static inline void expect_near(uint64_t value, uint64_t expected, uint64_t slack)
{
    ck_assert_msg(value <= expected + slack && value + slack >= expected,
                  "%llu is not %llu within %llu", (unsigned long long)value,
                  (unsigned long long)expected, (unsigned long long)slack);
}

static inline struct stat file_of(void)
{
    struct stat status;

    ck_assert_int_eq(fstat(backing_fd(backing), &status), 0);
    return status;
}

static inline uint64_t file_bytes(void)
{
    return (uint64_t)file_of().st_blocks * 512;
}

/* If a backing could not be made, nothing of it remains. */
static inline void expect_refusal(uint64_t capacity_bytes, enum huge_pages huge_pages,
                                  enum commit commit, int error, const char *text)
{
    const struct backing_config config = {capacity_bytes, huge_pages, commit, false};
    struct backing *refused = NULL;
    char why[BACKING_WHY_MAX] = "";
    uint64_t shmem = status_value("RssShmem:"), hugetlb = status_value("HugetlbPages:");
    size_t n_open = count_open();

    ck_assert_int_eq(backing_new(&config, &refused, why), error);
    ck_assert_msg(strstr(why, text), "\"%s\" lacks \"%s\"", why, text);
    ck_assert_ptr_null(refused);
    ck_assert_uint_eq(status_value("RssShmem:"), shmem);
    ck_assert_uint_eq(status_value("HugetlbPages:"), hugetlb);
    ck_assert_uint_eq(count_open(), n_open);
}

/* The descriptor is closed even then, and the file has not changed. */
static inline void expect_no_adoption(uint64_t capacity_bytes, enum huge_pages huge_pages,
                                      enum commit commit, int fd, int error, const char *text)
{
    const struct backing_config config = {capacity_bytes, huge_pages, commit, false};
    struct backing *refused = NULL;
    char why[BACKING_WHY_MAX] = "";
    struct stat before, after;
    _cleanup_(closep) int kept = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    ck_assert_int_eq(fstat(kept, &before), 0);
    uint64_t shmem = status_value("RssShmem:"), hugetlb = status_value("HugetlbPages:");
    size_t n_open = count_open();

    ck_assert_int_eq(backing_adopt(&config, fd, &refused, why), error);
    ck_assert_msg(strstr(why, text), "\"%s\" lacks \"%s\"", why, text);
    ck_assert_ptr_null(refused);
    ck_assert_uint_eq(status_value("RssShmem:"), shmem);
    ck_assert_uint_eq(status_value("HugetlbPages:"), hugetlb);
    ck_assert_uint_eq(count_open(), n_open - 1);
    ck_assert_int_eq(fstat(kept, &after), 0);
    ck_assert_int_eq(after.st_size, before.st_size);
    ck_assert_int_eq(after.st_blocks, before.st_blocks);
}
