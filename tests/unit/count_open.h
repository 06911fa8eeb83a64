/* How many descriptors the process has open, to compare before and after. */
#pragma once

#include <check.h>
#include <dirent.h>
#include <stddef.h>

static inline size_t count_open(void)
{
    DIR *directory = opendir("/proc/self/fd");
    size_t n = 0;

    ck_assert_ptr_nonnull(directory);
    while (readdir(directory))
        n++;
    closedir(directory);
    return n;
}
