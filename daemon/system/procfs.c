/* Owns the parsing of /proc, /sys and cgroup files. Leaves to others what the figures mean.
 *
 * It calls pread with a growing offset. The kernel remembers its position in such a file, so a file
 * that fits in one buffer is one consistent snapshot, and the kernel walks through a long file
 * (smaps) only once. */
#include "daemon/system/procfs.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int procfs_open(const char *root, const char *path)
{
    char full[PATH_MAX];
    int n = snprintf(full, sizeof full, "%s/%s", root, path);
    if (n < 0 || (size_t)n >= sizeof full)
        return -ENAMETOOLONG;
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void procfs_begin(struct procfs_reader *reader, int fd)
{
    reader->fd = fd;
    reader->offset = 0;
    reader->begin = reader->end = 0;
    reader->skip = false;
}

int procfs_next_line(struct procfs_reader *reader, char **ret_line)
{
    for (;;) {
        char *line = reader->text + reader->begin;
        size_t unread = reader->end - reader->begin;
        char *newline = memchr(line, '\n', unread);
        bool skip = reader->skip;
        if (newline) {
            *newline = '\0';
            reader->begin += (size_t)(newline - line) + 1;
            reader->skip = false;
        } else if (unread == PROCFS_LINE_MAX) {
            line[unread] = '\0';
            reader->begin = reader->end = 0;
            reader->skip = true;
        } else {
            memmove(reader->text, line, unread);
            reader->begin = 0;
            reader->end = unread;
            ssize_t n =
                pread(reader->fd, reader->text + unread, PROCFS_LINE_MAX - unread, reader->offset);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return -errno;
            if (n > 0) {
                reader->offset += n;
                reader->end += (size_t)n;
                continue;
            }
            if (unread == 0)
                return 0;
            line = reader->text; /* the last line lacks its newline */
            line[unread] = '\0';
            reader->end = 0;
        }
        if (skip)
            continue;
        *ret_line = line;
        return 1;
    }
}

bool procfs_number(const char *line, const char *key, uint64_t *ret)
{
    size_t n = strlen(key);
    if (strncmp(line, key, n) != 0)
        return false;
    const char *p = line + n + strspn(line + n, " \t");
    if (*p < '0' || *p > '9')
        return false;
    char *end;
    errno = 0;
    uint64_t value = strtoull(p, &end, 10);
    if (errno != 0)
        return false;
    if (strncmp(end, " kB", 3) == 0 && __builtin_mul_overflow(value, 1024, &value))
        return false;
    *ret = value;
    return true;
}

int procfs_read_number(const char *path, uint64_t *ret)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct procfs_reader reader;
    procfs_begin(&reader, fd);
    char *line;
    int r = procfs_next_line(&reader, &line);
    if (r < 0)
        return r;
    if (r == 0)
        return -ENODATA;
    if (strcmp(line, "max") == 0) {
        *ret = UINT64_MAX;
        return 0;
    }
    return procfs_number(line, "", ret) ? 0 : -EBADMSG;
}

int procfs_read_number_in(const char *directory, const char *file, uint64_t *ret)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", directory, file);
    return n < 0 || (size_t)n >= sizeof path ? -ENAMETOOLONG : procfs_read_number(path, ret);
}

int procfs_total(int meminfo_fd, uint64_t *ret_bytes)
{
    struct procfs_reader reader;
    procfs_begin(&reader, meminfo_fd);
    char *line;
    int r;
    while ((r = procfs_next_line(&reader, &line)) > 0)
        if (procfs_number(line, "MemTotal:", ret_bytes))
            return 0;
    return r < 0 ? r : -ENODATA;
}

int procfs_available(int meminfo_fd, uint64_t *ret_bytes, const char **ret_name)
{
    struct procfs_reader reader;
    procfs_begin(&reader, meminfo_fd);
    uint64_t free_bytes = 0;
    bool found = false;
    char *line;
    int r;
    while ((r = procfs_next_line(&reader, &line)) > 0) {
        if (procfs_number(line, "MemAvailable:", ret_bytes)) {
            *ret_name = "MemAvailable";
            return 0;
        }
        found |= procfs_number(line, "MemFree:", &free_bytes);
    }
    if (r < 0)
        return r;
    if (!found)
        return -ENODATA;
    *ret_bytes = free_bytes;
    *ret_name = "MemFree, because there is no MemAvailable";
    return 0;
}

/* "7f0c8a000000-7f0c8b000000 rw-s 00000000 00:01 1 /memfd:..." */
static bool parse_range(const char *line, uint64_t *ret_start)
{
    char *end;
    uint64_t start = strtoull(line, &end, 16);
    if (end == line || *end != '-')
        return false;
    *ret_start = start;
    return true;
}

int procfs_mapping(int smaps_fd, const void *base, uint64_t n_bytes, struct procfs_mapping *ret)
{
    struct procfs_reader reader;
    procfs_begin(&reader, smaps_fd);
    struct procfs_mapping sum = {0};
    bool inside = false, found = false;
    char *line;
    int r;
    while ((r = procfs_next_line(&reader, &line)) > 0) {
        uint64_t value;
        if (parse_range(line, &value)) {
            inside = value - (uintptr_t)base < n_bytes;
            if (found && !inside)
                break; /* addresses only go up */
            found |= inside;
        } else if (!inside) {
            continue;
        } else if (procfs_number(line, "Rss:", &value)) {
            sum.rss_bytes += value;
        } else if (procfs_number(line, "Swap:", &value)) {
            sum.swap_bytes += value;
        } else if (procfs_number(line, "ShmemPmdMapped:", &value) ||
                   procfs_number(line, "FilePmdMapped:", &value)) {
            sum.huge_bytes += value;
        }
    }
    if (r < 0)
        return r;
    if (!found)
        return -ENOENT;
    *ret = sum;
    return 0;
}
