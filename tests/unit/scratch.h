/* A directory for the files of a test. make_scratch and remove_scratch are an unchecked fixture:
 * they run in the parent, so that nothing remains after any test. clear_scratch is a checked
 * fixture, which gives each test an empty directory. */
#pragma once

#include "common/cleanup.h"

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[96];

static inline void make_scratch(void)
{
    const char *directory = getenv("TMPDIR");

    snprintf(scratch, sizeof scratch, "%.64s/edgemind-test-XXXXXX", directory ? directory : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(scratch));
}

static inline int remove_entry(const char *path, const struct stat *status, int type,
                               struct FTW *ftw)
{
    (void)status;
    (void)type;
    return ftw->level > 0 ? remove(path) : 0;
}

static inline void clear_scratch(void)
{
    nftw(scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void remove_scratch(void)
{
    clear_scratch();
    ck_assert_int_eq(rmdir(scratch), 0);
}

/* The path of `file` in the directory, in a static buffer. */
static inline const char *in_scratch(const char *file)
{
    static char path[512];

    ck_assert_int_lt(snprintf(path, sizeof path, "%s/%s", scratch, file), (int)sizeof path);
    return path;
}

/* Writes a file, and makes its directories. */
static inline void put(const char *file, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline void put(const char *file, const char *format, ...)
{
    char path[512];
    va_list arguments;

    strcpy(path, in_scratch(file));
    for (char *slash = path + strlen(scratch) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        ck_assert(mkdir(path, 0755) == 0 || errno == EEXIST);
        *slash = '/';
    }
    _cleanup_(fclosep) FILE *out = fopen(path, "we");
    ck_assert_ptr_nonnull(out);
    va_start(arguments, format);
    ck_assert_int_ge(vfprintf(out, format, arguments), 0);
    va_end(arguments);
}
