/* An open file that a model's bytes come from, and what it looked like when the model was read. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct weight_file {
    char *path; /* as the definition or the index spells it; owned */
    int fd;     /* owned */
    uint64_t device, inode;
    uint64_t bytes;
    struct timespec modified;       /* st_mtim, which a writer can put back */
    struct timespec status_changed; /* st_ctim, which nobody can */
    atomic_bool direct_refused;     /* the loader's: the file system takes no O_DIRECT */
    bool is_deleted;                /* the loop's: it was seen to have no name any more */
    uint64_t probed_usec;           /* the loader's: when it looked for it in the page cache */
};

/* Takes `fd`, also on failure. 0; -EINVAL (not a regular file), -EBADF (not open for reading),
 * -ENOMEM or another negative errno. */
int weight_file_init(struct weight_file *file, int fd, const char *path);
void weight_file_done(struct weight_file *file);

/* Whether the file may hold other bytes than at weight_file_init: its size, modification time or
 * status change time differ, or it cannot be examined. A new mode, owner, name or link changes that
 * last time as well, and counts: what happened cannot be told from a write whose modification time
 * was put back. A file without any name is excepted, because removing the name changed that time.
 * Any thread. */
bool weight_file_changed(const struct weight_file *file);

/* What a descriptor is open on, against a weight file. */
struct weight_file_look {
    struct weight_file now; /* no path and no descriptor */
    bool is_deleted;
};

/* Looks at `fd` without waiting for a file server: of a remote file, what the kernel last knew. 0
 * or a negative errno. */
int weight_file_look(int fd, struct weight_file_look *ret);
bool weight_file_is_same(const struct weight_file *file, const struct weight_file_look *look);
/* Of the same file, whether it looks as at weight_file_init. */
bool weight_file_is_intact(const struct weight_file *file, const struct weight_file_look *look);

/* Whether the file has no name any more: it was deleted, or another one was renamed over it. Its
 * bytes can still be read. A memfd has no name to lose. Any thread; it asks the kernel for what
 * that knows, and no server. */
bool weight_file_deleted(const struct weight_file *file);
