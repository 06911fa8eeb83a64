/* A watcher whose socket is full misses events. They are counted, and when the watcher has read all
 * that was queued, it gets the number in its last reply. */
#include "daemon/methods/watchers.h"

#include "common/cleanup.h"
#include "proto/message.h"

#include <errno.h>
#include <event2/event.h>

enum { GATHERED_MAX = 256 }; /* a longer turn has several messages */

struct watcher {
    struct watchers *watchers;
    struct watcher *next;
    struct call *call;
    uint64_t n_missed;
};

struct watchers {
    struct watcher *first;
    struct event *turn_ends; /* NULL: nothing is gathered */
    json_t *gathered;        /* events; NULL: none */
    uint64_t n_gathered;     /* with those for which there was no memory */
};

struct watch_reply {
    json_t *events;
    uint64_t n_missed;
};

static const struct field watch_fields[] = {
    {"events", FIELD_JSON, offsetof(struct watch_reply, events)},
    {"missed", FIELD_U64, offsetof(struct watch_reply, n_missed)},
    {0},
};

struct watchers *watchers_free(struct watchers *watchers)
{
    if (!watchers)
        return NULL;
    if (watchers->turn_ends)
        event_free(watchers->turn_ends);
    json_decref(watchers->gathered);
    free(watchers);
    return NULL;
}

static void watcher_unlink(struct watcher *watcher)
{
    struct watcher **link = &watcher->watchers->first;
    while (*link != watcher)
        link = &(*link)->next;
    *link = watcher->next;
}

static void watcher_cancelled(void *context)
{
    watcher_unlink(context);
    free(context);
}

static void watcher_drained(void *context)
{
    struct watcher *watcher = context;
    if (watcher->n_missed == 0)
        return;

    struct watch_reply reply = {json_array(), watcher->n_missed};
    call_reply_fields(watcher->call, watch_fields, &reply);
    json_decref(reply.events);
    watcher_unlink(watcher);
    free(watcher);
}

/* Formats a message with all gathered events. Returns NULL if there is no memory for all. */
static char *format(struct watchers *watchers, size_t *ret_bytes)
{
    struct watch_reply reply = {watchers->gathered, 0};
    char *text = NULL;
    if (json_array_size(watchers->gathered) == watchers->n_gathered)
        (void)message_format_reply_fields(NULL, watch_fields, &reply, true, &text, ret_bytes);
    return text;
}

static void send_gathered(struct watchers *watchers)
{
    size_t n_bytes = 0;
    _cleanup_(freep) char *text = format(watchers, &n_bytes);
    struct watcher *next;

    /* To send may end a call. */
    for (struct watcher *watcher = watchers->first; watcher; watcher = next) {
        next = watcher->next;
        if (watcher->n_missed > 0 || !call_may_continue(watcher->call))
            watcher->n_missed += watchers->n_gathered;
        else
            call_continue_text(watcher->call, text, n_bytes);
    }
    json_decref(watchers->gathered);
    watchers->gathered = NULL;
    watchers->n_gathered = 0;
}

static void on_turn_ends(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    send_gathered(context);
}

struct watchers *watchers_new(struct event_base *base)
{
    struct watchers *watchers = calloc(1, sizeof *watchers);
    if (watchers && base) {
        watchers->turn_ends = event_new(base, -1, 0, on_turn_ends, watchers);
        if (!watchers->turn_ends)
            return watchers_free(watchers);
    }
    return watchers;
}

void watchers_add(struct watchers *watchers, struct call *call)
{
    static const struct call_hooks hooks = {watcher_cancelled, watcher_drained};

    if (!call_more(call)) {
        call_error(call, ERROR_EXPECTED_MORE, NULL);
        return;
    }
    struct watcher *watcher = calloc(1, sizeof(*watcher));
    if (!watcher) {
        call_io_failed(call, "watch", -ENOMEM);
        return;
    }
    if (watchers->n_gathered > 0)
        send_gathered(watchers); /* they are older than this call */
    *watcher = (struct watcher){watchers, watchers->first, call, 0};
    watchers->first = watcher;
    call_set_hooks(call, &hooks, watcher);

    struct watch_reply reply = {json_array(), 0};
    call_continue_fields(call, watch_fields, &reply);
    json_decref(reply.events);
}

bool watchers_exist(const struct watchers *watchers)
{
    return watchers->first;
}

void watchers_tell(struct watchers *watchers, json_t *event)
{
    if (!watchers->gathered)
        watchers->gathered = json_array();
    json_array_append_new(watchers->gathered, event);
    watchers->n_gathered++;
    if (!watchers->turn_ends || watchers->n_gathered == GATHERED_MAX)
        send_gathered(watchers);
    else
        event_active(watchers->turn_ends, EV_TIMEOUT, 1);
}
