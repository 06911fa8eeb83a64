/* How many descriptors the process has open, to compare before and after. */
#pragma once

#include <dirent.h>
#include <stddef.h>
#include <stdlib.h>

static inline size_t count_open(void)
{
    DIR *directory = opendir("/proc/self/fd");
    size_t n = 0;

    if (!directory)
        abort();
    while (readdir(directory))
        n++;
    closedir(directory);
    return n;
}
