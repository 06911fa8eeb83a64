/* A signal handler reads the slots. A view is first removed from its slot; the server frees it when
 * no thread can use it any more. */
#include "client/view/views.h"

#include "client/view/real.h"

#include <errno.h>
#include <linux/futex.h>

struct views views = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake_fd = -1, .faults = {.uffd = -1}};

void views_lock(void)
{
    pthread_mutex_lock(&views.lock);
}

void views_unlock(void)
{
    pthread_mutex_unlock(&views.lock);
}

void views_kick(void)
{
    atomic_fetch_add(&views.kicks, 1);
    syscall(SYS_futex, &views.kicks, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void views_ring(void)
{
    uint64_t one = 1;
    ssize_t n = syscall(SYS_write, views.wake_fd, &one, sizeof one);
    (void)n; /* the eventfd is full, so the server is awake already */
}

static bool overlaps(const struct view *view, const void *begin, size_t n_bytes)
{
    uintptr_t a = (uintptr_t)begin, b = (uintptr_t)view->begin;
    return a < b + view->n_bytes && b < a + n_bytes;
}

bool views_overlap(const void *begin, size_t n_bytes)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        const struct view *view = atomic_load(&views.slots[i]);
        if (view && !view->is_removed && overlaps(view, begin, n_bytes))
            return true;
    }
    return false;
}

static void retire(struct view *view, const void *begin, size_t n_bytes)
{
    uintptr_t a = (uintptr_t)begin, b = (uintptr_t)view->begin;
    uint64_t at = a > b ? a - b : 0, end = a + n_bytes - b;
    bool is_left = false;

    for (uint32_t i = unit_table_lower(&view->table, at);
         i < view->table.n_pieces && view->table.pieces[i].begin_bytes < end; i++) {
        uint32_t unit = view->table.pieces[i].unit;
        if (atomic_load(&view->units[unit].state) != UNIT_PLAIN && view_make_plain(view, unit) == 0)
            view_wake(view, unit, NULL);
    }
    for (uint32_t i = 0; i < view->table.n_units && !is_left; i++)
        is_left = atomic_load(&view->units[i].state) != UNIT_PLAIN;
    view->is_removed = !is_left;
}

void views_retire(const void *begin, size_t n_bytes)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        if (view && !view->is_removed && overlaps(view, begin, n_bytes))
            retire(view, begin, n_bytes);
    }
    views_kick();
}

int views_add(struct view *view)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        if (!atomic_load(&views.slots[i])) {
            atomic_store(&views.slots[i], view);
            return 0;
        }
    }
    return -ENFILE;
}

/* Finds the view of an address and counts this thread in, so that the view is not freed. */
static struct view *find(const void *address)
{
    struct view *found = NULL;

    atomic_fetch_add(&views.n_looking, 1);
    for (unsigned i = 0; i < VIEWS_MAX && !found; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        if (view && overlaps(view, address, 1)) {
            int64_t unit = unit_table_find(
                &view->table, (uint64_t)((const unsigned char *)address - view->begin));
            if (unit != UNIT_NONE && atomic_load(&view->units[unit].state) != UNIT_PLAIN)
                found = view;
        }
    }
    if (found)
        atomic_fetch_add(&found->n_faulting, 1);
    atomic_fetch_sub(&views.n_looking, 1);
    return found;
}

bool views_report(const void *address, bool wait)
{
    struct view *view = find(address);
    if (!view)
        return false;
    int64_t index =
        unit_table_find(&view->table, (uint64_t)((const unsigned char *)address - view->begin));
    struct unit *unit = &view->units[index];
    unsigned generation = atomic_load(&unit->generation);
    unsigned state = atomic_load(&unit->state);
    bool is_hole = state == UNIT_HOLE || state == UNIT_ARMED;
    if (is_hole) {
        atomic_store(&unit->wanted, 1);
        if (wait)
            views_kick();
        else
            views_ring();
        while (wait && atomic_load(&unit->generation) == generation)
            syscall(SYS_futex, &unit->generation, FUTEX_WAIT_PRIVATE, generation, NULL, NULL, 0);
    }
    atomic_fetch_sub(&view->n_faulting, 1);
    /* With SIGSEGV: if the address is not in a hole any more, the thread reads it again. */
    return wait || is_hole;
}

const void *views_stretch(const void *address, bool *ret_is_unit)
{
    const void *end = NULL;

    atomic_fetch_add(&views.n_looking, 1);
    for (unsigned i = 0; i < VIEWS_MAX && !end; i++) {
        const struct view *view = atomic_load(&views.slots[i]);
        if (!view || !overlaps(view, address, 1))
            continue;
        uint64_t at = (uint64_t)((const unsigned char *)address - view->begin);
        uint32_t next = unit_table_lower(&view->table, at);
        const struct unit_piece *piece =
            next < view->table.n_pieces ? &view->table.pieces[next] : NULL;
        bool is_inside = piece && piece->begin_bytes <= at;
        *ret_is_unit = is_inside && atomic_load(&view->units[piece->unit].state) != UNIT_PLAIN;
        end = view->begin + (!piece      ? view->n_bytes
                             : is_inside ? piece->end_bytes
                                         : piece->begin_bytes);
    }
    atomic_fetch_sub(&views.n_looking, 1);
    return end;
}
