/* Whether weight files are read past the page cache. Worker threads. */
#pragma once

#include "daemon/scheduler/model.h"
#include "daemon/weights/chunk.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

/* How weight files are read. auto: through the page cache if the file is in it (warm), else past it
 * (cold). A file that does not support O_DIRECT is always read through the cache. */
enum io_mode { IO_AUTO, IO_DIRECT, IO_BUFFERED };

LIST_HEAD(read_mode_choices, read_mode_choice);

struct read_modes {
    enum io_mode io;
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t changed;
    struct read_mode_choices choices; /* that are being made */
};

void read_modes_init(struct read_modes *modes, enum io_mode io);
void read_modes_done(struct read_modes *modes); /* no choice may be in progress */

/* Chooses how the layer's files are read, once, and sets *is_chosen; does nothing when that is set.
 * `is_repeated`: it is read for a run or a view, which reads the same layers again and again.
 * A look at a file may wait for its server, so the choice for one model keeps those for others
 * waiting for nothing. 0; -EBADF (its descriptor was not kept over a restart), -ESTALE (a file has
 * changed). */
int read_modes_choose(struct read_modes *modes, const struct layer *layer, bool is_repeated,
                      const struct chunk_list *chunks, atomic_bool *is_chosen);

/* Around each read of a weight file. A file that is being read is not probed, because a probe
 * clears O_DIRECT for a moment: reads that began then would fill the page cache. */
void read_modes_begin_read(struct read_modes *modes, struct weight_file *file);
void read_modes_end_read(struct read_modes *modes, struct weight_file *file);

/* Sets or clears O_DIRECT. A file that refuses it is read through the page cache from then on. */
void weight_file_set_direct(struct weight_file *file, bool direct);
