/* An open weight file of a model, and its size and times when the model was read. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct weight_file {
    char *path; /* as in the definition or the index; owned */
    int fd;     /* owned */
    uint64_t device, inode;
    uint64_t bytes;
    struct timespec modified;       /* st_mtim, which a writer can restore */
    struct timespec status_changed; /* st_ctim, which no program can restore */
    atomic_bool direct_refused; /* set by the loader: the file system does not support O_DIRECT */
    bool is_deleted;            /* set by the loop: the file no longer has a name */
    /* These belong to read_modes.c: when it last checked the page cache for the file, after how
     * long it does so again, and who reads. */
    uint64_t probed_usec, probe_interval_usec;
    unsigned n_reads;
    bool is_probed;
};

/* Takes ownership of `fd`, also on failure. 0; -EINVAL (not a regular file), -EBADF (not open for
 * reading), -ENOMEM or another negative errno. */
int weight_file_init(struct weight_file *file, int fd, const char *path);
void weight_file_done(struct weight_file *file);

/* Whether the bytes of the file may have changed since weight_file_init: its size, modification
 * time or status change time differs, or it cannot be examined. A new mode, owner, name or link
 * also changes the status change time, and counts as a change, because it looks the same as a write
 * whose modification time was restored. For a file without a name the status change time is
 * ignored, because removing the name changed it. Any thread. */
bool weight_file_changed(const struct weight_file *file);

/* Compares the file behind a descriptor with a weight file. */
struct weight_file_look {
    struct weight_file now; /* no path and no descriptor */
    bool is_deleted;
};

/* Examines `fd` without waiting for a file server: for a remote file this is what the kernel last
 * knew. 0 or a negative errno. */
int weight_file_look(int fd, struct weight_file_look *ret);
bool weight_file_is_same(const struct weight_file *file, const struct weight_file_look *look);
/* If it is the same file: whether its size and times are those of weight_file_init. */
bool weight_file_is_intact(const struct weight_file *file, const struct weight_file_look *look);

/* Writes a text that identifies the file with its size and times, and returns it. */
enum { WEIGHT_FILE_ID_MAX = 128 };
const char *weight_file_id(const struct weight_file *file, char text[static WEIGHT_FILE_ID_MAX]);

/* Whether the file has no name any more, because it was deleted, or because another file was
 * renamed over it. Its bytes can still be read. A memfd never counts as deleted. Any thread; asks
 * only the kernel, never a file server. */
bool weight_file_deleted(const struct weight_file *file);
