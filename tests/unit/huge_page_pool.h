/* The system's pool of reserved huge pages, which a test enlarges as root. An unchecked fixture
 * saves and restores it: that runs in the parent, so that it comes back whatever a test does. */
#pragma once

#include "common/cleanup.h"

#include <check.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"

static char saved_pool[32]; /* empty: it cannot be changed */

static inline bool read_setting(const char *path, char *ret, size_t size)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);
    if (n <= 0)
        return false;
    ret[n] = '\0';
    return true;
}

static inline bool write_setting(const char *path, const char *value)
{
    _cleanup_(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);
}

static inline void save_pool(void)
{
    if (!read_setting(NR_HUGEPAGES, saved_pool, sizeof saved_pool) ||
        !write_setting(NR_HUGEPAGES, saved_pool))
        *saved_pool = '\0';
}

static inline void restore_pool(void)
{
    if (*saved_pool)
        ck_assert(write_setting(NR_HUGEPAGES, saved_pool));
}

/* Asks for `n` pages more than there were. False if the setting cannot be changed; the kernel may
 * have added fewer. */
static inline bool enlarge_pool(unsigned n)
{
    char value[32];

    snprintf(value, sizeof value, "%lu", strtoul(saved_pool, NULL, 10) + n);
    return *saved_pool && write_setting(NR_HUGEPAGES, value);
}
