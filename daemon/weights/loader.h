/* Fills the pages that the scheduler reserved for a layer, on the worker threads, in chunks.
 *
 * Weights are read from their files straight into the arena; the rest of the pages is zeroed, so
 * that nothing of an earlier layer shows through. A layer without weights is all zero, and its
 * memory is really written. Reads are of whole PIECE_ALIGN_BYTES blocks at congruent offsets, so
 * that O_DIRECT needs no bounce buffer. A cancelled fill is acknowledged only when no thread writes
 * any more and every new page is committed; until then the pages are the layer's. */
#pragma once

#include "daemon/arena/backing.h"
#include "daemon/scheduler/model.h"
#include "daemon/system/workers.h"

/* What one step reads, on plain and on huge pages. The kernel gives the pages of a direct read back
 * one by one where nothing can be preempted: 4 MiB of plain pages keep the loop waiting twice as
 * long as 1 MiB, while with huge pages they are few, and the disk is a quarter faster. */
enum { LOADER_CHUNK_BYTES = 1 << 20, LOADER_HUGE_CHUNK_BYTES = 4 << 20 };

/* How weight files are read. auto: past the page cache when they are cold, through it when they are
 * warm. A file that takes no O_DIRECT is read through the cache in any case. */
enum io_mode { IO_AUTO, IO_DIRECT, IO_BUFFERED };

struct loader;

/* `backing` may be NULL (simulation): then nothing is written, and the rest happens as usual. */
int loader_new(struct workers *workers, struct backing *backing, const struct arena *arena,
               enum io_mode io, struct loader **ret);
struct loader *loader_free(struct loader *loader); /* no fill may be in flight */
DEFINE_CLEANUP(struct loader *, loader_free);

/* Loop thread, later: 0, -ECANCELED, -ESTALE (a weight file has changed) or another negative errno.
 * layer->fill is NULL again. */
typedef void (*loader_done)(struct layer *layer, int error, void *context);

/* Starts to fill a layer in LAYER_LOADING; sets layer->fill. With `behind`, no further chunk is
 * begun while another fill has one to begin, until loader_hurry. Belongs right after the layer's
 * pages were reserved: no pages that came later may be filled, or reserved, before. 0, or a
 * negative errno (the pages must then be given back), and then `done` is not called. */
int loader_fill(struct loader *loader, struct layer *layer, bool behind, loader_done done,
                void *context);

/* The fill in flight, if any, takes its turns like the others from now on. */
void loader_hurry(struct loader *loader, struct layer *layer);

/* Asks a fill in flight to stop; `done` follows with -ECANCELED, or with 0 if all was
 * written by then. */
void loader_cancel(struct loader *loader, struct layer *layer);

/* Bytes of the layer that a fill in flight has put in place; 0 when there is none. */
uint64_t loader_progress_bytes(const struct layer *layer);
