/* Fills the pages that the scheduler reserved for a layer, on the worker threads, in chunks.
 *
 * Weights are read from their files straight into the arena. The rest of the pages is zeroed, so
 * that no client can see bytes of an earlier layer. A layer without weights is all zero, and its
 * memory is really written. Each read covers whole piece_align_bytes blocks, at congruent offsets
 * in file and arena, so that O_DIRECT needs no bounce buffer. A cancelled fill is done only when no
 * thread writes any more and every new page is committed; until then the layer keeps its pages. */
#pragma once

#include "daemon/arena/backing.h"
#include "daemon/arena/holes.h"
#include "daemon/scheduler/model.h"
#include "daemon/system/workers.h"
#include "daemon/weights/read_modes.h"

/* The bytes that one step reads, on plain and on huge pages. After a direct read the kernel
 * releases its pages one by one, and cannot be preempted meanwhile. With plain pages, 4 MiB delay
 * the loop twice as long as 1 MiB. With huge pages there are few to release, and 4 MiB make the
 * disk a quarter faster. */
enum { LOADER_CHUNK_BYTES = 1 << 20, LOADER_HUGE_CHUNK_BYTES = 4 << 20 };

struct loader;

/* Called on the loop thread if a layer's fill has not moved for WORKERS_ABANDON_USEC, because a
 * file does not answer. layer->given_up is set. Threads may still write into the layer's pages.
 * When they have returned, `done` is called, which resets layer->given_up. */
typedef void (*loader_given_up)(struct layer *layer, void *context);

/* `backing` may be NULL (simulation): then the loader writes no bytes, and does the rest as
 * usual. */
int loader_new(struct workers *workers, struct backing *backing, const struct arena *arena,
               enum io_mode io, struct loader **ret);
struct loader *loader_free(struct loader *loader); /* no fill may be in flight */
DEFINE_CLEANUP(struct loader *, loader_free);

/* Fills wait for pages that were given back to the system. Borrowed; NULL: there are none. */
void loader_set_holes(struct loader *loader, struct holes *holes);

/* Called later on the loop thread, with 0, -ECANCELED, -ESTALE (a weight file has changed), -ENOMEM
 * (the system has no memory for pages that were given back) or another negative errno. layer->fill
 * is NULL again. */
typedef void (*loader_done)(struct layer *layer, int error, void *context);

void loader_on_given_up(struct loader *loader, loader_given_up given_up, void *context);

/* Where the steps of FILL_PROMPT run; by default where all others do. Borrowed. */
void loader_set_prompt_workers(struct loader *loader, struct workers *workers);

enum fill_urgency {
    FILL_BEHIND, /* begins a chunk only if no other fill has one to begin, until loader_hurry */
    FILL_ORDINARY,
    FILL_PROMPT /* for a view, whose program may spin while it waits */
};

/* Starts to fill a layer in LAYER_LOADING for the user `uid`, and sets layer->fill. Call it right
 * after the layer's pages were reserved, before any other pages are reserved or filled. Returns 0,
 * or a negative errno; on failure the caller must release the pages, and `done` is not called. */
int loader_fill(struct loader *loader, struct layer *layer, uid_t uid, enum fill_urgency urgency,
                loader_done done, void *context);

/* Ends `behind` for the layer's fill, if it has one: from now on the fill takes its turns like the
 * others. */
void loader_hurry(struct layer *layer);

/* Asks the layer's fill to stop. `done` is called later with -ECANCELED, or with 0 if all bytes
 * were written by then. */
void loader_cancel(struct loader *loader, struct layer *layer);

/* The bytes of the layer that its fill has written so far; 0 if it has no fill. */
uint64_t loader_progress_bytes(const struct layer *layer);
