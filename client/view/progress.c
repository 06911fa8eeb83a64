#include "client/view/progress.h"

#include "client/view/chance.h"
#include "client/view/notice.h"
#include "client/view/stream.h"
#include "client/view/views.h"

void progress_note_read(struct view *view, uint32_t unit)
{
    if (copy_watch_note(&view->copy_watch, view->table.bytes[unit], view->table.covered_bytes))
        notice_of(view->path, "is copied by the program into its own memory, which the "
                              "arena's capacity does not limit; edgemind-view(7) says how "
                              "programs map their weights");
}

/* Watches for a thread that has done with the streamed unit that was entered last. */
static void watch_next(struct view *view, int touch_fd)
{
    int64_t next = touch_fd < 0 ? ORDER_NONE : stream_choose_next_kept(view);

    view->streamed.next_kept = ORDER_NONE;
    if (next == ORDER_NONE)
        return;
    views_lock();
    if (atomic_load(&view->units[next].state) == UNIT_MAPPED &&
        view_untouch(view, (uint32_t)next, touch_fd))
        view->streamed.next_kept = next;
    views_unlock();
}

static void enter(struct view *view, uint32_t unit, int touch_fd)
{
    if (view->chance.uses) {
        chance_enter(view, unit, &views.faults);
        return;
    }
    stream_enter(view, unit);
    watch_next(view, touch_fd);
}

void progress_watch(struct view *view, uint32_t unit, int touch_fd)
{
    view->units[unit].is_watched =
        !view_is_touched(view, unit, touch_fd) || view_untouch(view, unit, touch_fd);
    if (!view->units[unit].is_watched)
        (void)view_arm(view, unit, &views.faults);
}

bool progress_look(struct view *view, int touch_fd)
{
    struct streamed *streamed = &view->streamed;
    bool any = false;

    if (streamed->next_kept != ORDER_NONE &&
        view_is_touched(view, (uint32_t)streamed->next_kept, touch_fd)) {
        streamed->next_kept = ORDER_NONE;
        streamed->is_passed = any = true;
    }
    for (unsigned i = 0; i < streamed->n; i++) {
        uint32_t unit = streamed->units[i];
        if (!view->units[unit].is_watched || !view_is_touched(view, unit, touch_fd))
            continue;
        progress_note_read(view, unit);
        enter(view, unit, touch_fd);
        any = true;
    }
    return any;
}

void progress_enter(struct view *view, uint32_t unit, int touch_fd)
{
    (void)progress_look(view, touch_fd);
    enter(view, unit, touch_fd);
}
