/* Sleeps on a futex, which an engine's thread can change without a descriptor, also in a signal
 * handler. */
#include "client/view/helper.h"

#include "client/view/thread.h"
#include "client/view/views.h"
#include "common/thread_priority.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The caller holds the lock. */
static void help_view(struct view *view)
{
    if (atomic_load(&view->is_new)) {
        view->error = view_make_holes(view, &views.faults);
        atomic_store(&view->is_new, 0);
        syscall(SYS_futex, &view->is_new, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    for (uint32_t i = 0; i < view->table.n_units; i++)
        if (view->units[i].must_wake)
            view_wake(view, i, &views.faults);
}

static void *help(void *context)
{
    unsigned seen = 0;
    (void)context;
    (void)thread_be_prompt();

    for (;;) {
        syscall(SYS_futex, &views.kicks, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        seen = atomic_load(&views.kicks);
        views_lock();
        for (unsigned i = 0; i < VIEWS_MAX; i++) {
            struct view *view = atomic_load(&views.slots[i]);
            if (view)
                help_view(view);
        }
        views_unlock();
        views_ring();
    }
    return NULL;
}

int helper_start(void)
{
    return thread_start(help, NULL, 64 << 10);
}
