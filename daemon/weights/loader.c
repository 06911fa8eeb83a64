/* Owns the fills in flight: which bytes of the arena the steps of each fill write, and how many are
 * written.
 *
 * Invariant (with a backing): below the file's mark every page is committed, or belongs to a fill
 * that will commit it. A fill extends the file to the end of its layer's pages. All that it adds
 * lies in the layer's own pages, because every earlier allocation has done the same.
 *
 * Leaves to others: which pages to fill (scheduler), when to start and stop (load_request), threads
 * (workers). */
#include "daemon/weights/loader.h"

#include "daemon/weights/chunk.h"
#include "daemon/weights/read_modes.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct loader {
    struct workers *workers, *prompt_workers;
    struct backing *backing;
    struct holes *holes; /* NULL: no page is ever given back */
    const struct arena *arena;
    uint64_t chunk_bytes; /* the most that a step writes */
    uint64_t n_fills;
    loader_given_up given_up;
    void *given_up_context;
    struct read_modes modes;
};

struct fill {
    struct job job; /* first, so that the job's address is this one's */
    struct workers *workers;
    struct loader *loader;
    struct layer *layer;
    loader_done done;
    void *context;
    uint64_t mark_bytes, new_bytes; /* [mark - new, mark) was added to the file for this fill */
    atomic_int error;    /* why the layer cannot come: -ECANCELED, or the error of a read */
    atomic_bool skipped; /* a step did not write its bytes */
    _Atomic uint64_t written_bytes;
    struct holes_wait wait;   /* while it waits, the job is not submitted */
    bool is_repeated;         /* see read_modes_choose */
    atomic_bool has_modes;    /* how its files are read is chosen */
    struct chunk_list chunks; /* empty in a simulation */
};

int loader_new(struct workers *workers, struct backing *backing, const struct arena *arena,
               enum io_mode io, struct loader **ret)
{
    assert(!backing || backing_page_bytes(backing) == arena_page_bytes(arena));
    struct loader *loader = malloc(sizeof *loader);
    if (!loader)
        return -ENOMEM;
    bool huge = backing && backing_has_huge_pages(backing);
    *loader = (struct loader){
        .workers = workers,
        .prompt_workers = workers,
        .backing = backing,
        .arena = arena,
        .chunk_bytes = huge ? LOADER_HUGE_CHUNK_BYTES : LOADER_CHUNK_BYTES,
    };
    read_modes_init(&loader->modes, io);
    *ret = loader;
    return 0;
}

struct loader *loader_free(struct loader *loader)
{
    if (loader) {
        assert(loader->n_fills == 0);
        read_modes_done(&loader->modes);
    }
    free(loader);
    return NULL;
}

void loader_set_holes(struct loader *loader, struct holes *holes)
{
    loader->holes = holes;
}

void loader_set_prompt_workers(struct loader *loader, struct workers *workers)
{
    loader->prompt_workers = workers;
}

void loader_on_given_up(struct loader *loader, loader_given_up given_up, void *context)
{
    loader->given_up = given_up;
    loader->given_up_context = context;
}

/* Reads whole blocks, and zeroes the bytes beyond the file's end. */
static int read_chunk(struct weight_file *file, unsigned char *buffer, const struct chunk *chunk)
{
    uint64_t left_bytes = file->bytes - chunk->file_offset_bytes;
    uint32_t wanted = chunk->n_bytes < left_bytes ? chunk->n_bytes : (uint32_t)left_bytes;
    uint32_t n_read = 0;
    bool retried = false;

    while (n_read < wanted) {
        ssize_t n = pread(file->fd, buffer + n_read, chunk->n_bytes - n_read,
                          (off_t)(chunk->file_offset_bytes + n_read));
        if (n > 0) {
            n_read += (uint32_t)n;
            worker_reads();
        } else if (n == 0) {
            return -ESTALE;
        } else if (errno == EINVAL && !retried) {
            /* The file system refuses O_DIRECT, or needs larger blocks. Other threads may find
             * this, too. */
            retried = true;
            file->direct_refused = true;
            weight_file_set_direct(file, false);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    if (wanted < chunk->n_bytes)
        memset(buffer + wanted, 0, chunk->n_bytes - wanted);
    return weight_file_changed(file) ? -ESTALE : 0;
}

static int write_chunk(struct fill *fill, const struct chunk *chunk)
{
    unsigned char *buffer = backing_base(fill->loader->backing) + chunk->offset_bytes;

    if (chunk->source == CHUNK_NO_SOURCE) {
        memset(buffer, 0, chunk->n_bytes);
        return 0;
    }
    int r = read_modes_choose(&fill->loader->modes, fill->layer, fill->is_repeated, &fill->chunks,
                              &fill->has_modes);
    if (r < 0)
        return r;
    struct weight_file *file = &fill->layer->model->definition->files[chunk->source];
    read_modes_begin_read(&fill->loader->modes, file);
    r = read_chunk(file, buffer, chunk);
    read_modes_end_read(&fill->loader->modes, file);
    return r;
}

/* Commits new pages, even if no client wants the layer any more, so that the ledger stays exact.
 * The call reports an error where a plain write would raise SIGBUS. */
static int commit_new(struct fill *fill, const struct chunk *chunk)
{
    uint64_t begin = fill->mark_bytes - fill->new_bytes;
    uint64_t end = chunk->offset_bytes + chunk->n_bytes;

    if (begin < chunk->offset_bytes)
        begin = chunk->offset_bytes;
    return fill->new_bytes > 0 && begin < end
               ? backing_populate(fill->loader->backing, begin, end - begin)
               : 0;
}

/* If the layer cannot come, stores the reason in fill->error; the remaining steps then only commit
 * pages. */
static int fill_step(struct job *job, uint64_t index)
{
    struct fill *fill = (struct fill *)job;
    uint64_t n_bytes = layer_definition(fill->layer)->bytes;
    int error = atomic_load(&fill->error);

    if (fill->chunks.n > 0) {
        const struct chunk *chunk = &fill->chunks.elements[index];
        int r = commit_new(fill, chunk);
        if (r < 0)
            return r;
        n_bytes = chunk->n_bytes;
        if (error == 0)
            error = write_chunk(fill, chunk);
    }
    if (error == 0)
        atomic_fetch_add(&fill->written_bytes, n_bytes);
    else if (!atomic_exchange(&fill->skipped, true))
        atomic_store(&fill->error, error);
    return 0;
}

static void fill_free(struct fill *fill)
{
    free(fill->chunks.elements);
    free(fill);
}

static void fill_done(struct job *job, int error)
{
    struct fill *fill = (struct fill *)job;
    struct loader *loader = fill->loader;
    struct layer *layer = fill->layer;
    loader_done done = fill->done;
    void *context = fill->context;
    /* If memory ran out, or the pool is being freed, some pages may not be committed: they stay
     * pending. */
    if (error == 0 && loader->backing)
        backing_committed(loader->backing, fill->new_bytes);
    if (error == 0 && atomic_load(&fill->skipped))
        error = atomic_load(&fill->error);
    layer->fill = NULL;
    loader->n_fills--;
    fill_free(fill);
    done(layer, error, context);
}

static void fill_can_begin(int error, void *context)
{
    struct fill *fill = context;
    if (error < 0)
        fill_done(&fill->job, error);
    else
        workers_submit(fill->workers, &fill->job);
}

static void fill_abandoned(struct job *job)
{
    struct fill *fill = (struct fill *)job;
    int none = 0;
    atomic_compare_exchange_strong(&fill->error, &none, -ETIMEDOUT);
    fill->layer->given_up = true;
    if (fill->loader->given_up)
        fill->loader->given_up(fill->layer, fill->loader->given_up_context);
}

static int grow(struct fill *fill)
{
    struct backing *backing = fill->loader->backing;
    uint64_t page_bytes = arena_page_bytes(fill->loader->arena);
    uint64_t end_bytes, own_bytes = 0;
    const struct allocation *allocation = &fill->layer->allocation;
    const struct extent *extents_end = allocation_end(allocation), *last = extents_end - 1;

    end_bytes = (last->first_page + last->n_pages) * page_bytes;
    int r = backing_grow(backing, end_bytes, &fill->new_bytes);
    if (r < 0)
        return r;
    fill->mark_bytes = end_bytes;
    for (const struct extent *extent = allocation_extents(allocation); extent < extents_end;
         extent++) {
        uint64_t begin = extent->first_page * page_bytes;
        uint64_t end = begin + extent->n_pages * page_bytes;
        if (begin < end_bytes - fill->new_bytes)
            begin = end_bytes - fill->new_bytes;
        if (begin < end)
            own_bytes += end - begin;
    }
    assert(own_bytes == fill->new_bytes);
    return 0;
}

int loader_fill(struct loader *loader, struct layer *layer, uid_t uid, enum fill_urgency urgency,
                loader_done done, void *context)
{
    assert(!layer->fill && arena_holds(loader->arena, &layer->allocation));

    struct fill *fill = calloc(1, sizeof *fill);
    if (!fill)
        return -ENOMEM;
    fill->loader = loader;
    fill->layer = layer;
    fill->done = done;
    fill->context = context;
    fill->job.step = fill_step;
    fill->job.done = fill_done;
    fill->job.abandoned = fill_abandoned;
    fill->job.file = layer->model->definition;
    fill->job.uid = uid;
    fill->job.n_steps = 1;
    fill->is_repeated = layer->ahead || urgency == FILL_PROMPT;
    fill->job.is_behind = urgency == FILL_BEHIND;
    fill->workers = urgency == FILL_PROMPT ? loader->prompt_workers : loader->workers;
    if (loader->backing) {
        int r = chunk_list_make(layer, loader->arena, loader->chunk_bytes, &fill->chunks);
        if (r == 0)
            r = grow(fill);
        if (r < 0) {
            fill_free(fill);
            return r;
        }
        fill->job.n_steps = fill->chunks.n;
    }
    layer->fill = fill;
    loader->n_fills++;
    fill->wait.ready = fill_can_begin;
    fill->wait.context = fill;
    if (!loader->holes || !holes_await(loader->holes, &fill->wait, &layer->allocation))
        workers_submit(fill->workers, &fill->job);
    return 0;
}

void loader_hurry(struct layer *layer)
{
    if (layer->fill && layer->fill->wait.holes)
        layer->fill->job.is_behind = false;
    else if (layer->fill)
        workers_hurry(layer->fill->workers, &layer->fill->job);
}

void loader_cancel(struct loader *loader, struct layer *layer)
{
    (void)loader;
    /* workers_cancel would be wrong, because the remaining steps still have pages to commit. */
    if (layer->fill)
        atomic_store(&layer->fill->error, -ECANCELED);
}

uint64_t loader_progress_bytes(const struct layer *layer)
{
    if (!layer->fill)
        return 0;
    uint64_t written = atomic_load(&layer->fill->written_bytes);
    uint64_t bytes = layer_definition(layer)->bytes;
    return written < bytes ? written : bytes;
}
