/* Reads the kernel's text files line by line, from a descriptor that stays open, into the caller's
 * buffer. Allocates no memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCFS_LINE_MAX = 4096 };

struct procfs_reader {
    int fd; /* borrowed */
    off_t offset;
    size_t begin, end; /* the unread part of `text` */
    bool skip;         /* skip the rest of a line that was too long */
    char text[PROCFS_LINE_MAX + 1];
};

/* Opens `root`/`path`. Returns a descriptor or a negative errno. */
int procfs_open(const char *root, const char *path);

/* Starts to read at the file's beginning. */
void procfs_begin(struct procfs_reader *reader, int fd);

/* Returns 1 with the next line; 0 at the end; or a negative errno. The line has no newline and is
 * valid until the next call. A line longer than PROCFS_LINE_MAX bytes is truncated to that
 * length. */
int procfs_next_line(struct procfs_reader *reader, char **ret_line);

/* If the line begins with `key` ("VmRSS:", "inactive_file "), reads the number behind it, times
 * 1024 if the line says kB. Returns false if the line has another key or no number below 2^64. */
bool procfs_number(const char *line, const char *key, uint64_t *ret);

/* Reads a file that contains one number, or the word "max" (then UINT64_MAX). Returns 0 or a
 * negative errno. */
int procfs_read_number(const char *path, uint64_t *ret);
int procfs_read_number_in(const char *directory, const char *file, uint64_t *ret);

/* Reads MemTotal. Returns 0, -ENODATA if the file lacks it, or another negative errno. */
int procfs_total(int meminfo_fd, uint64_t *ret_bytes);

/* Reads MemAvailable from a meminfo file, or MemFree if the kernel is older than Linux 3.14 and
 * lacks MemAvailable. `ret_name` names the one that was read. Returns 0 or a negative errno. */
int procfs_available(int meminfo_fd, uint64_t *ret_bytes, const char **ret_name);

/* Adds up what smaps says about the mappings that begin in [base, base + n_bytes). The kernel walks
 * the page tables for it: 9 ms a GiB on plain pages. Returns 0, -ENOENT if there are no such
 * mappings, or another negative errno. */
struct procfs_mapping {
    uint64_t rss_bytes, swap_bytes;
    uint64_t huge_bytes; /* the part of a memfd that transparent huge pages map */
};
int procfs_mapping(int smaps_fd, const void *base, uint64_t n_bytes, struct procfs_mapping *ret);
