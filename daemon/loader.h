/* Fills the pages that the scheduler reserved for a layer, on the worker threads, in chunks.
 *
 * A layer without weights is zero-filled: its memory is really written, and nothing of an earlier
 * layer shows through. A cancelled fill is acknowledged only when no thread writes any more and
 * every new page is committed; until then the pages are the layer's. */
#pragma once

#include "daemon/backing.h"
#include "daemon/model.h"
#include "daemon/workers.h"

enum { LOADER_CHUNK_BYTES = 1 << 20 };

struct loader;

/* `backing` may be NULL (simulation): then nothing is written, and the rest happens as usual. */
int loader_new(struct workers *workers, struct backing *backing, const struct arena *arena,
               struct loader **ret);
struct loader *loader_free(struct loader *loader); /* no fill may be in flight */
DEFINE_CLEANUP(struct loader *, loader_free);

/* Loop thread, later: 0, -ECANCELED or another negative errno. layer->fill is NULL again. */
typedef void (*loader_done)(struct layer *layer, int error, void *context);

/* Starts to fill a layer in LAYER_LOADING; sets layer->fill. 0, or a negative errno, and then
 * `done` is not called. */
int loader_fill(struct loader *loader, struct layer *layer, loader_done done, void *context);

/* Asks a fill in flight to stop; `done` follows with -ECANCELED, or with 0 if it was too late. */
void loader_cancel(struct loader *loader, struct layer *layer);

/* Bytes of the layer that are in place. */
uint64_t loader_progress_bytes(const struct layer *layer);
