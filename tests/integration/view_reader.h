/* What the readers have in common. They stand for engines that do not know EdgeMind, so they
 * include nothing of it. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 8192 };

static const char *path;
static size_t size;
static const unsigned char *map;

static inline void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    _exit(2);
}

static inline void expect(int true_or_false, const char *what)
{
    if (!true_or_false)
        fail(what);
}

static inline int open_file(void)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;

    expect(fd >= 0 && fstat(fd, &status) == 0, path);
    size = (size_t)status.st_size;
    return fd;
}

/* `at` maps the file from `offset`. */
static inline void compare(int fd, const unsigned char *at, size_t offset, size_t n_bytes)
{
    unsigned char right[BLOCK];

    while (n_bytes > 0) {
        size_t n = n_bytes < sizeof right ? n_bytes : sizeof right;
        expect(pread(fd, right, n, (off_t)offset) == (ssize_t)n, "pread");
        for (size_t i = 0; i < n; i++) {
            if (at[i] != right[i]) {
                fprintf(stderr, "byte %zu is %d, not %d\n", offset + i, at[i], right[i]);
                _exit(1);
            }
        }
        at += n;
        offset += n;
        n_bytes -= n;
    }
}

static inline void *map_file(int fd, size_t n_bytes, size_t offset, int flags)
{
    void *at = mmap(NULL, n_bytes, PROT_READ, flags, fd, (off_t)offset);
    expect(at != MAP_FAILED, "mmap");
    return at;
}

static inline void read_all(int fd)
{
    compare(fd, map, 0, size);
}
