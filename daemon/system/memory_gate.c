/* Owns the places, and the count of what their uses have taken.
 *
 * The system says what is in use now, and the count also what was taken but not yet written to.
 * More is taken only if both leave room. What is kept or freed by uses that are gone is known only
 * from the system, when nothing is taken. */
#include "daemon/system/memory_gate.h"

#include "common/clock.h"
#include "daemon/system/procfs.h"
#include "daemon/system/workers.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOOK_USEC = 100000 }; /* how often who waits looks whether he is cancelled */

void memory_gate_init(struct memory_gate *gate, uint64_t (*measure)(void))
{
    pthread_condattr_t attributes;

    *gate = (struct memory_gate){.measure = measure, .limit_bytes = UINT64_MAX};
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    for (int place = 0; place < N_PLACES; place++)
        TAILQ_INIT(&gate->waiting[place]);
}

void memory_gate_set_limit(struct memory_gate *gate, uint64_t limit_bytes, uint64_t free_bytes)
{
    pthread_mutex_lock(&gate->mutex);
    gate->limit_bytes = limit_bytes;
    gate->free_bytes = free_bytes;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

uint64_t memory_gate_measure(void)
{
    _cleanup_(closep) int fd = procfs_open("/proc", "self/status");
    uint64_t rss_bytes = UINT64_MAX, shared_bytes = 0;
    struct procfs_reader reader;
    char *line;

    if (fd < 0)
        return UINT64_MAX;
    procfs_begin(&reader, fd);
    while (procfs_next_line(&reader, &line) > 0) {
        procfs_number(line, "VmRSS:", &rss_bytes);
        procfs_number(line, "RssShmem:", &shared_bytes);
    }
    return rss_bytes > shared_bytes ? rss_bytes - shared_bytes : 0;
}

static uint64_t add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Called with the mutex locked, as what follows. The system may take long to answer, and the loop
 * may want the mutex meanwhile. Leaves out what is used of the free bytes, which stay reserved as a
 * whole; if that changes meanwhile, the lower figure is safe. */
static uint64_t measure(struct memory_gate *gate, bool give_unused_back)
{
    pthread_mutex_unlock(&gate->mutex);
    if (give_unused_back)
        malloc_trim(0);
    uint64_t before_bytes = atomic_load(&gate->free_used_bytes);
    uint64_t n_bytes = gate->measure();
    uint64_t used_bytes = min(before_bytes, atomic_load(&gate->free_used_bytes));
    pthread_mutex_lock(&gate->mutex);
    return n_bytes == UINT64_MAX ? n_bytes
                                 : n_bytes - min(n_bytes, min(used_bytes, gate->free_bytes));
}

static bool leaves_room(struct memory_gate *gate, const struct memory_use *use, uint64_t n_bytes,
                        uint64_t now_bytes)
{
    uint64_t free_bytes = gate->free_bytes;

    if (use->place == PLACE_MEMBER)
        free_bytes = add(free_bytes, gate->limit_bytes / MEMORY_GATE_ADMIN_PART);
    if (gate->taken_bytes == 0 || now_bytes < gate->resting_bytes)
        gate->resting_bytes = now_bytes;
    n_bytes = add(n_bytes, free_bytes);
    return add(now_bytes, n_bytes) <= gate->limit_bytes &&
           add(add(gate->resting_bytes, gate->taken_bytes), n_bytes) <= gate->limit_bytes;
}

/* Waits until something changes. Returns false if the use has waited for too long, or its work is
 * cancelled. */
static bool await(struct memory_gate *gate, uint64_t deadline_usec)
{
    uint64_t now_usec = clock_monotonic_usec(), look_usec = now_usec + LOOK_USEC;
    const struct timespec look = {.tv_sec = (time_t)(look_usec / 1000000),
                                  .tv_nsec = (long)(look_usec % 1000000) * 1000};

    if (now_usec >= deadline_usec || worker_is_cancelled())
        return false;
    pthread_cond_timedwait(&gate->changed, &gate->mutex, &look);
    return true;
}

static bool get_place(struct memory_gate *gate, struct memory_use *use, uint64_t deadline_usec)
{
    struct memory_queue *queue = &gate->waiting[use->place];
    bool goes_on = true;

    if (gate->inside[use->place] == use)
        return true;
    TAILQ_INSERT_TAIL(queue, use, entry);
    while (goes_on && (gate->inside[use->place] || TAILQ_FIRST(queue) != use))
        goes_on = await(gate, deadline_usec) && !use->is_given_up;
    TAILQ_REMOVE(queue, use, entry);
    if (goes_on)
        gate->inside[use->place] = use;
    pthread_cond_broadcast(&gate->changed); /* for the next one */
    return goes_on;
}

static bool get_room(struct memory_gate *gate, struct memory_use *use, uint64_t n_bytes,
                     uint64_t deadline_usec)
{
    uint64_t grace_usec = clock_monotonic_usec() + MEMORY_GATE_GRACE_USEC;

    if (leaves_room(gate, use, n_bytes, measure(gate, false)))
        return true;
    while (!leaves_room(gate, use, n_bytes, measure(gate, true))) {
        const struct memory_use *other = gate->inside[!use->place];
        if (other && other->waits_for_other && use->place == PLACE_MEMBER)
            return false;
        use->waits_for_other = other;
        pthread_cond_broadcast(&gate->changed);
        bool goes_on =
            await(gate, other || deadline_usec < grace_usec ? deadline_usec : grace_usec);
        use->waits_for_other = false;
        if (!goes_on)
            return false;
    }
    return true;
}

static bool extend(struct memory_budget *budget, uint64_t n_bytes)
{
    struct memory_use *use = (struct memory_use *)budget;
    struct memory_gate *gate = use->gate;
    uint64_t deadline_usec = clock_monotonic_usec() + MEMORY_GATE_WAIT_USEC;

    worker_computes(); /* who waits for others does not wait for a file */
    if (n_bytes < MEMORY_USE_STEP_BYTES)
        n_bytes = MEMORY_USE_STEP_BYTES;
    pthread_mutex_lock(&gate->mutex);
    bool may = !use->is_given_up && get_place(gate, use, deadline_usec) &&
               get_room(gate, use, n_bytes, deadline_usec) && !use->is_given_up;
    if (may) {
        gate->taken_bytes += n_bytes;
        use->taken_bytes += n_bytes;
        budget->left_bytes += n_bytes;
    }
    pthread_mutex_unlock(&gate->mutex);
    return may;
}

struct memory_use *memory_use_new(struct memory_gate *gate, bool is_admin)
{
    struct memory_use *use = calloc(1, sizeof *use);
    if (!use)
        return NULL;
    use->budget = (struct memory_budget){.left_bytes = MEMORY_USE_FREE_BYTES, .extend = extend};
    use->gate = gate;
    use->place = is_admin ? PLACE_ADMIN : PLACE_MEMBER;
    return use;
}

static void leave_place(struct memory_use *use)
{
    struct memory_gate *gate = use->gate;
    if (gate->inside[use->place] == use)
        gate->inside[use->place] = NULL;
    pthread_cond_broadcast(&gate->changed);
}

static struct memory_use *end(struct memory_use *use, bool keep)
{
    if (!use)
        return NULL;
    struct memory_gate *gate = use->gate;
    pthread_mutex_lock(&gate->mutex);
    gate->taken_bytes -= use->taken_bytes;
    if (keep)
        gate->resting_bytes = add(gate->resting_bytes, use->taken_bytes);
    leave_place(use);
    pthread_mutex_unlock(&gate->mutex);
    free(use);
    return NULL;
}

struct memory_use *memory_use_free(struct memory_use *use)
{
    return end(use, false);
}

struct memory_use *memory_use_keep(struct memory_use *use)
{
    return end(use, true);
}

void memory_use_give_up(struct memory_use *use)
{
    pthread_mutex_lock(&use->gate->mutex);
    use->is_given_up = true;
    leave_place(use);
    pthread_mutex_unlock(&use->gate->mutex);
}
