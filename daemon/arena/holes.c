/* Owns which units are holes, the slice that is being given or taken, and the fills that wait.
 *
 * Invariant: a unit is a hole if and only if it has no memory, except those of the slice, which the
 * backing counts as moving. Every unit of a slice to give back was free when the slice began, and
 * whoever gets its pages since then waits. A slice that cannot be taken is emptied again, so that
 * what it holds is known. */
#include "daemon/arena/holes.h"

#include "daemon/arena/capacity_check.h"
#include "daemon/system/workers.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
    /* Short, because a system call that changes the mappings of the process waits for it. */
    SLICE_BYTES = 2 << 20,
    RUNS_MAX = 1000, /* runs of free pages that one search looks at */
};

enum aim { AIM_NOTHING, AIM_GIVE, AIM_TAKE };

struct unit_range {
    uint64_t first, n;
};

TAILQ_HEAD(wait_list, holes_wait);

struct holes {
    struct backing *backing;
    const struct arena *arena;
    struct workers *workers;
    uint64_t unit_bytes, unit_pages, n_units;
    unsigned char *is_hole; /* for each unit */
    enum aim aim;
    uint64_t next_page; /* where the search for free pages goes on */
    uint64_t may_take_bytes;
    struct wait_list waits;
    struct holes_stats stats;
    bool is_stopped;
    void (*idle)(int error, void *context);
    void *idle_context;
    /* The slice: */
    struct job job;
    bool is_running, is_given;
    struct unit_range slice;
};

static struct holes *holes_of(struct job *job)
{
    return (struct holes *)((char *)job - offsetof(struct holes, job));
}

static void mark(struct holes *holes, struct unit_range range, bool is_hole)
{
    memset(holes->is_hole + range.first, is_hole, range.n);
}

int holes_new(struct backing *backing, const struct arena *arena, struct workers *workers,
              struct holes **ret)
{
    struct holes *holes = calloc(1, sizeof *holes);
    if (!holes)
        return -ENOMEM;
    *holes = (struct holes){
        .backing = backing,
        .arena = arena,
        .workers = workers,
        .unit_bytes = backing_unit_bytes(backing),
    };
    TAILQ_INIT(&holes->waits);
    holes->unit_pages = holes->unit_bytes / arena_page_bytes(arena);
    holes->n_units = backing_capacity_bytes(backing) / holes->unit_bytes;
    holes->is_hole = calloc(holes->n_units + 1, 1);
    if (!holes->is_hole) {
        holes_free(holes);
        return -ENOMEM;
    }
    uint64_t begin, end = 0;
    while (backing_hole_bytes(backing) > 0 && backing_next_hole(backing, end, &begin, &end))
        mark(holes,
             (struct unit_range){begin / holes->unit_bytes, (end - begin) / holes->unit_bytes},
             true);
    holes->stats.bytes = backing_hole_bytes(backing);
    *ret = holes;
    return 0;
}

struct holes *holes_free(struct holes *holes)
{
    if (!holes)
        return NULL;
    assert(!holes->is_running && TAILQ_EMPTY(&holes->waits));
    free(holes->is_hole);
    free(holes);
    return NULL;
}

void holes_on_idle(struct holes *holes, void (*idle)(int error, void *context), void *context)
{
    holes->idle = idle;
    holes->idle_context = context;
}

/* On a worker. The check comes first, because the kernel kills instead of refusing. */
static int take(struct holes *holes, uint64_t offset_bytes, uint64_t n_bytes)
{
    int r = capacity_check_now(n_bytes, arena_page_bytes(holes->arena));
    if (r < 0)
        return r;
    r = backing_populate(holes->backing, offset_bytes, n_bytes);
    if (r < 0)
        backing_punch(holes->backing, offset_bytes, n_bytes);
    return r;
}

static int step(struct job *job, uint64_t index)
{
    struct holes *holes = holes_of(job);
    uint64_t offset_bytes = holes->slice.first * holes->unit_bytes;
    uint64_t n_bytes = holes->slice.n * holes->unit_bytes;
    (void)index;

    worker_computes();
    return holes->is_given ? backing_punch(holes->backing, offset_bytes, n_bytes)
                           : take(holes, offset_bytes, n_bytes);
}

static bool go_on(struct holes *holes);

/* Ends those that wait now, but none that begin to wait because of it. */
static void end_waits(struct holes *holes, int error)
{
    struct wait_list ended = TAILQ_HEAD_INITIALIZER(ended);
    struct holes_wait *wait;
    TAILQ_CONCAT(&ended, &holes->waits, entry);
    while ((wait = TAILQ_FIRST(&ended))) {
        TAILQ_REMOVE(&ended, wait, entry);
        wait->holes = NULL;
        wait->ready(error, wait->context);
    }
}

static void done(struct job *job, int error)
{
    struct holes *holes = holes_of(job);
    uint64_t n_bytes = holes->slice.n * holes->unit_bytes;
    bool is_hole = holes->is_given ? error == 0 : error < 0;

    holes->is_running = false;
    mark(holes, holes->slice, is_hole);
    backing_end_move(holes->backing, n_bytes, is_hole);
    if (error == 0 && holes->is_given) {
        holes->stats.bytes += n_bytes;
        holes->stats.given_bytes += n_bytes;
    } else if (error == 0) {
        holes->stats.bytes -= n_bytes;
        holes->stats.taken_bytes += n_bytes;
    }
    if (error < 0) {
        holes->aim = AIM_NOTHING;
        if (!holes->is_given)
            end_waits(holes, error);
    }
    if (!go_on(holes) && !holes->is_stopped && holes->idle)
        holes->idle(error, holes->idle_context);
}

static void begin_slice(struct holes *holes, struct unit_range range, bool is_given)
{
    uint64_t max = SLICE_BYTES / holes->unit_bytes;
    if (max == 0)
        max = 1;
    holes->slice = (struct unit_range){range.first, range.n < max ? range.n : max};
    holes->is_given = is_given;
    holes->is_running = true;
    uint64_t n_bytes = holes->slice.n * holes->unit_bytes;
    backing_begin_move(holes->backing, n_bytes, !is_given);
    holes->job = (struct job){.n_steps = 1, .step = step, .done = done};
    workers_submit(holes->workers, &holes->job);
}

/* Finds units from `from` to `end` that are holes (1), or are none (0), one after the other. */
static bool find_units(const struct holes *holes, uint64_t from, uint64_t end, int is_hole,
                       struct unit_range *ret)
{
    if (from >= end)
        return false;
    const unsigned char *found = memchr(holes->is_hole + from, is_hole, end - from);
    if (!found)
        return false;
    uint64_t first = (uint64_t)(found - holes->is_hole);
    const unsigned char *other = memchr(found, 1 - is_hole, end - first);
    *ret = (struct unit_range){first, other ? (uint64_t)(other - found) : end - first};
    return true;
}

static bool overlaps_slice(const struct holes *holes, uint64_t first, uint64_t end)
{
    return holes->is_running && first < holes->slice.first + holes->slice.n &&
           holes->slice.first < end;
}

/* Finds what the wait needs next: a range of holes, or the end of the slice (`ret->n` is 0).
 * Returns false if it needs nothing more. */
static bool find_needed(const struct holes *holes, struct holes_wait *wait, struct unit_range *ret)
{
    for (; wait->extent < wait->end; wait->extent++) {
        uint64_t first = wait->extent->first_page / holes->unit_pages;
        uint64_t end_page = wait->extent->first_page + wait->extent->n_pages;
        uint64_t end = (end_page - 1) / holes->unit_pages + 1;
        if (end > holes->n_units)
            end = holes->n_units;
        *ret = (struct unit_range){0};
        if (overlaps_slice(holes, first, end) || find_units(holes, first, end, 1, ret))
            return true;
    }
    return false;
}

/* Serves the first wait that needs a slice, and ends those that need nothing more. Returns whether
 * a slice runs. */
static bool serve_waits(struct holes *holes)
{
    struct holes_wait *wait;
    while (!holes->is_running && (wait = TAILQ_FIRST(&holes->waits))) {
        struct unit_range needed;
        if (find_needed(holes, wait, &needed)) {
            begin_slice(holes, needed, false);
            break;
        }
        TAILQ_REMOVE(&holes->waits, wait, entry);
        wait->holes = NULL;
        wait->ready(0, wait->context);
    }
    return holes->is_running;
}

/* Finds units that have memory, and of which all pages are free. Where the search ends, the next
 * one goes on, and after the last page it begins anew. */
static bool find_free(struct holes *holes, struct unit_range *ret)
{
    uint64_t mark_units = backing_mark_bytes(holes->backing) / holes->unit_bytes;
    uint64_t limit = mark_units < holes->n_units ? mark_units : holes->n_units;
    struct extent run;

    for (unsigned i = 0; i < RUNS_MAX; i++) {
        if (!arena_next_free(holes->arena, holes->next_page, &run)) {
            holes->next_page = 0;
            return false;
        }
        uint64_t first = (run.first_page + holes->unit_pages - 1) / holes->unit_pages;
        uint64_t end = (run.first_page + run.n_pages) / holes->unit_pages;
        if (find_units(holes, first, end < limit ? end : limit, 0, ret))
            return true;
        holes->next_page = run.first_page + run.n_pages;
    }
    return false;
}

/* Begins the next slice, if there is work and none runs. Returns whether one runs. */
static bool go_on(struct holes *holes)
{
    struct unit_range range;
    if (holes->is_stopped || serve_waits(holes))
        return holes->is_running;
    if (holes->aim == AIM_GIVE && find_free(holes, &range)) {
        begin_slice(holes, range, true);
    } else if (holes->aim == AIM_TAKE && holes->may_take_bytes >= holes->unit_bytes &&
               find_units(holes, 0, holes->n_units, 1, &range)) {
        uint64_t max = holes->may_take_bytes / holes->unit_bytes;
        if (range.n > max)
            range.n = max;
        begin_slice(holes, range, false);
        holes->may_take_bytes -= holes->slice.n * holes->unit_bytes;
    }
    return holes->is_running;
}

bool holes_give(struct holes *holes)
{
    holes->aim = AIM_GIVE;
    return go_on(holes);
}

bool holes_take(struct holes *holes, uint64_t max_bytes)
{
    holes->aim = AIM_TAKE;
    holes->may_take_bytes = max_bytes;
    return go_on(holes);
}

bool holes_await(struct holes *holes, struct holes_wait *wait, const struct allocation *allocation)
{
    struct unit_range needed;
    wait->extent = allocation_extents(allocation);
    wait->end = allocation_end(allocation);
    if (holes->is_stopped || (holes->stats.bytes == 0 && !holes->is_running) ||
        !find_needed(holes, wait, &needed))
        return false;
    wait->holes = holes;
    TAILQ_INSERT_TAIL(&holes->waits, wait, entry);
    go_on(holes); /* ends no wait: this one needs a slice, and those before it have been served */
    return true;
}

void holes_stop(struct holes *holes)
{
    holes->is_stopped = true;
    end_waits(holes, -ECANCELED);
}

struct holes_stats holes_stats(const struct holes *holes)
{
    return holes->stats;
}
