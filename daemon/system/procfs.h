/* Reading the kernel's text files: line by line, from a descriptor that stays open, into a buffer
 * of the caller's. Nothing is allocated. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCFS_LINE_MAX = 4096 };

struct procfs_reader {
    int fd; /* borrowed */
    off_t offset;
    size_t begin, end; /* what of `text` is unread */
    bool skip;         /* the rest of a line that was too long */
    char text[PROCFS_LINE_MAX + 1];
};

/* Opens `root`/`path`. A descriptor or a negative errno. */
int procfs_open(const char *root, const char *path);

/* From the file's start again. */
void procfs_begin(struct procfs_reader *reader, int fd);

/* 1 with the next line, without newline and valid until the next call; 0 at the end; a negative
 * errno. A line of more than PROCFS_LINE_MAX bytes is cut off there. */
int procfs_next_line(struct procfs_reader *reader, char **ret_line);

/* The number behind `key` at the line's start ("VmRSS:", "inactive_file "), times 1024 if the line
 * says kB. False if the line has another key or no number below 2^64. */
bool procfs_number(const char *line, const char *key, uint64_t *ret);

/* A file that holds one number, or the word "max" (then UINT64_MAX). 0 or a negative errno. */
int procfs_read_number(const char *path, uint64_t *ret);

/* MemTotal. 0, -ENODATA if it is not there, or another negative errno. */
int procfs_total(int meminfo_fd, uint64_t *ret_bytes);

/* Of a meminfo file: MemAvailable, or MemFree from a kernel before Linux 3.14, which lacks it.
 * `ret_name` tells which. 0 or a negative errno. */
int procfs_available(int meminfo_fd, uint64_t *ret_bytes, const char **ret_name);

/* What smaps says of the mappings that begin in [base, base + n_bytes). The kernel walks the page
 * tables for it: 9 ms a GiB on plain pages. 0, -ENOENT if there are none, or another errno. */
struct procfs_mapping {
    uint64_t rss_bytes, swap_bytes;
    uint64_t huge_bytes; /* of a memfd, mapped by transparent huge pages */
};
int procfs_mapping(int smaps_fd, const void *base, uint64_t n_bytes, struct procfs_mapping *ret);
