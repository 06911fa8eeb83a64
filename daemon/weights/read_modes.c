/* Owns the choice of O_DIRECT. Of one model, one choice is made at a time, so that its probes do
 * not meet the flag. */
#include "daemon/weights/read_modes.h"

#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>

enum { PROBE_INTERVAL_USEC = 1000000, PROBE_INTERVAL_MAX_USEC = 64 * PROBE_INTERVAL_USEC };

/* On the stack of the thread that makes it. */
struct read_mode_choice {
    LIST_ENTRY(read_mode_choice) entry;
    const struct definition *definition;
};

void read_modes_init(struct read_modes *modes, enum io_mode io)
{
    *modes = (struct read_modes){
        .io = io, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
}

void read_modes_done(struct read_modes *modes)
{
    pthread_cond_destroy(&modes->changed);
    pthread_mutex_destroy(&modes->lock);
}

/* Probes a few bytes of the layer, evenly spread over it, so that the bytes before it, which others
 * have read, do not decide alone. The file counts as warm if most of them are in the page cache.
 * cachestat and mincore would work only for files of the daemon's own user. The kernel reads the
 * bytes that a probe misses, so the next load must probe other places. */
static bool is_warm(const struct chunk_list *chunks, uint32_t source,
                    const struct weight_file *file)
{
    enum { PROBES = 16, STEP_BYTES_MIN = 256 << 10 };
    uint64_t n_bytes = 0, begin = 0;
    unsigned n_probes = 0, n_hits = 0, seed = (unsigned)clock_monotonic_usec();

    for (size_t i = 0; i < chunks->n; i++)
        n_bytes += chunks->elements[i].source == source ? chunks->elements[i].n_bytes : 0;
    uint64_t step = n_bytes / PROBES > STEP_BYTES_MIN ? n_bytes / PROBES : STEP_BYTES_MIN;
    uint64_t at = n_bytes > 0 ? (unsigned)rand_r(&seed) % (step < n_bytes ? step : n_bytes) : 0;
    for (size_t i = 0; i < chunks->n; i++) {
        const struct chunk *chunk = &chunks->elements[i];
        if (chunk->source != source)
            continue;
        for (; at < begin + chunk->n_bytes; at += step) {
            char byte;
            struct iovec vector = {&byte, 1};
            uint64_t offset_bytes = chunk->file_offset_bytes + at - begin;
            if (offset_bytes >= file->bytes)
                continue; /* chunks have whole blocks */
            n_probes++;
            n_hits += preadv2(file->fd, &vector, 1, (off_t)offset_bytes, RWF_NOWAIT) == 1;
        }
        begin += chunk->n_bytes;
    }
    return n_hits * 2 > n_probes;
}

/* This does not disturb reads in flight on the same descriptor, because every read covers whole
 * blocks at congruent offsets. */
void weight_file_set_direct(struct weight_file *file, bool direct)
{
    int flags = fcntl(file->fd, F_GETFL);
    if (flags < 0)
        return;
    flags = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
    if (fcntl(file->fd, F_SETFL, flags) < 0)
        file->direct_refused = true;
}

/* A run or a view must not pay for probes each time, nor make the file warm by its probes. */
static bool is_due(bool is_repeated, const struct weight_file *file, uint64_t now_usec)
{
    return !is_repeated || now_usec >= file->probed_usec + file->probe_interval_usec;
}

/* Whether the file is not being read. Then reads wait until end_probe. */
static bool begin_probe(struct read_modes *modes, struct weight_file *file)
{
    pthread_mutex_lock(&modes->lock);
    bool begins = file->n_reads == 0;
    file->is_probed = begins;
    pthread_mutex_unlock(&modes->lock);
    return begins;
}

static void end_probe(struct read_modes *modes, struct weight_file *file)
{
    pthread_mutex_lock(&modes->lock);
    file->is_probed = false;
    pthread_mutex_unlock(&modes->lock);
    pthread_cond_broadcast(&modes->changed);
}

void read_modes_begin_read(struct read_modes *modes, struct weight_file *file)
{
    pthread_mutex_lock(&modes->lock);
    while (file->is_probed)
        pthread_cond_wait(&modes->changed, &modes->lock);
    file->n_reads++;
    pthread_mutex_unlock(&modes->lock);
}

void read_modes_end_read(struct read_modes *modes, struct weight_file *file)
{
    pthread_mutex_lock(&modes->lock);
    file->n_reads--;
    pthread_mutex_unlock(&modes->lock);
}

static void follow_page_cache(struct read_modes *modes, bool is_repeated,
                              const struct chunk_list *chunks, uint32_t source,
                              struct weight_file *file)
{
    uint64_t now_usec = clock_monotonic_usec(), interval_usec = file->probe_interval_usec * 2;

    if (!is_due(is_repeated, file, now_usec) || !begin_probe(modes, file))
        return;
    weight_file_set_direct(file, false);
    bool warm = is_warm(chunks, source, file);
    weight_file_set_direct(file, !warm);
    end_probe(modes, file);
    file->probed_usec = now_usec;
    file->probe_interval_usec = warm || interval_usec < PROBE_INTERVAL_USEC ? PROBE_INTERVAL_USEC
                                : interval_usec < PROBE_INTERVAL_MAX_USEC   ? interval_usec
                                                                          : PROBE_INTERVAL_MAX_USEC;
}

static int choose(struct read_modes *modes, const struct layer *layer, bool is_repeated,
                  const struct chunk_list *chunks)
{
    const struct definition *definition = layer->model->definition;
    const struct layer_definition *description = layer_definition(layer);

    for (uint32_t i = 0; i < description->n_pieces; i++) {
        uint32_t source = description->pieces[i].source;
        struct weight_file *file = &definition->files[source];
        if (i > 0 && source == description->pieces[i - 1].source)
            continue;
        if (file->fd < 0)
            return -EBADF;
        if (weight_file_changed(file))
            return -ESTALE;
        /* Chunks are large enough without readahead. Readahead would fetch bytes that no step
         * reads, and the file would look warmer each time. */
        posix_fadvise(file->fd, 0, 0, POSIX_FADV_RANDOM);
        if (file->direct_refused)
            continue;
        if (modes->io == IO_AUTO)
            follow_page_cache(modes, is_repeated, chunks, source, file);
        else
            weight_file_set_direct(file, modes->io == IO_DIRECT);
    }
    return 0;
}

static bool is_in_progress(const struct read_modes *modes, const struct definition *definition)
{
    const struct read_mode_choice *other;
    LIST_FOREACH (other, &modes->choices, entry)
        if (other->definition == definition)
            return true;
    return false;
}

int read_modes_choose(struct read_modes *modes, const struct layer *layer, bool is_repeated,
                      const struct chunk_list *chunks, atomic_bool *is_chosen)
{
    struct read_mode_choice choice = {.definition = layer->model->definition};
    int r = 0;
    if (atomic_load(is_chosen))
        return 0;

    pthread_mutex_lock(&modes->lock);
    while (is_in_progress(modes, choice.definition))
        pthread_cond_wait(&modes->changed, &modes->lock);
    LIST_INSERT_HEAD(&modes->choices, &choice, entry);
    pthread_mutex_unlock(&modes->lock);

    if (!atomic_load(is_chosen)) {
        r = choose(modes, layer, is_repeated, chunks);
        atomic_store(is_chosen, r == 0);
    }

    pthread_mutex_lock(&modes->lock);
    LIST_REMOVE(&choice, entry);
    pthread_cond_broadcast(&modes->changed);
    pthread_mutex_unlock(&modes->lock);
    return r;
}
