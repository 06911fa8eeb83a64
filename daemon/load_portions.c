#include "daemon/load_portions.h"

#include <errno.h>
#include <event2/event.h>

struct load_portions {
    struct load_requests *loads;
    struct event *next;
};

static void on_next(evutil_socket_t fd, short what, void *context)
{
    struct load_portions *portions = context;
    (void)fd;
    (void)what;
    load_requests_go_on(portions->loads);
}

/* The next portion does not begin at once, so that the loop first asks the system for other
 * events. */
static void later(void *context)
{
    struct load_portions *portions = context;
    if (event_add(portions->next, &(struct timeval){0}) < 0)
        event_active(portions->next, EV_TIMEOUT, 1);
}

int load_portions_new(struct event_base *base, struct load_requests *loads,
                      struct load_portions **ret)
{
    struct load_portions *portions = calloc(1, sizeof *portions);
    if (!portions)
        return -ENOMEM;
    portions->loads = loads;
    portions->next = event_new(base, -1, 0, on_next, portions);
    if (!portions->next) {
        free(portions);
        return -ENOMEM;
    }
    load_requests_on_later(loads, later, portions);
    *ret = portions;
    return 0;
}

struct load_portions *load_portions_free(struct load_portions *portions)
{
    if (!portions)
        return NULL;
    load_requests_on_later(portions->loads, NULL, NULL);
    event_free(portions->next);
    free(portions);
    return NULL;
}
