/* A monitor of a backing. */
#pragma once

#include "daemon/monitor/monitor.h"

#include <check.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MIB (UINT64_C(1) << 20)

static uint64_t page;

static inline struct backing *make(uint64_t capacity_bytes, enum huge_pages huge_pages,
                                   enum commit commit)
{
    struct backing *backing = NULL;
    char why[BACKING_WHY_MAX] = "";
    int r = backing_new(&(struct backing_config){capacity_bytes, huge_pages, commit, false},
                        &backing, why);
    ck_assert_msg(r == 0, "%s", why);
    return backing;
}

static inline struct monitor *watch(const struct backing *backing)
{
    struct monitor *monitor = NULL;
    ck_assert_int_eq(monitor_new(backing, "/proc", &monitor), 0);
    return monitor;
}

static inline const struct sample *sample(struct monitor *monitor)
{
    uint64_t n = monitor_n_samples(monitor);
    ck_assert_int_eq(monitor_sample(monitor), 0);
    ck_assert_uint_eq(monitor_n_samples(monitor), n + 1);
    return monitor_last(monitor);
}

static inline void load(struct backing *backing, uint64_t mark_bytes)
{
    uint64_t new_bytes;
    ck_assert_int_eq(backing_grow(backing, mark_bytes, &new_bytes), 0);
    ck_assert_int_eq(backing_populate(backing, mark_bytes - new_bytes, new_bytes), 0);
    backing_committed(backing, new_bytes);
}

/* Fake files, for what a test cannot bring about. */
static char root[64];

static inline void make_root(void)
{
    const char *directory = getenv("TMPDIR");
    snprintf(root, sizeof root, "%.30s/monitor-XXXXXX", directory ? directory : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static inline int remove_entry(const char *path, const struct stat *status, int type,
                               struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void remove_root(void)
{
    nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
