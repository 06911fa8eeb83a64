/* An open file that a model's bytes come from, and what it looked like when the model was read. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct weight_file {
    char *path; /* as the definition or the index spells it; owned */
    int fd;     /* owned */
    uint64_t bytes;
    struct timespec modified;
    atomic_bool direct_refused; /* the loader's: the file system takes no O_DIRECT */
    uint64_t probed_usec;       /* the loader's: when it looked for it in the page cache */
};

/* Takes `fd`, also on failure. 0; -EINVAL (not a regular file), -EBADF (not open for reading),
 * -ENOMEM or another negative errno. */
int weight_file_init(struct weight_file *file, int fd, const char *path);
void weight_file_done(struct weight_file *file);

/* Whether its size or modification time are no longer those of weight_file_init. Any thread. */
bool weight_file_changed(const struct weight_file *file);
