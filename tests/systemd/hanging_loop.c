/* The event loop of build/test/edgemindd, a daemon for tests that is linked with
 * --wrap=event_base_dispatch: on SIGUSR2 it hangs for good, in a callback, as a mistake would make
 * it. All other threads go on. Everything else is the daemon's own. */
#include <event2/event.h>
#include <signal.h>
#include <unistd.h>

int __real_event_base_dispatch(struct event_base *base);
int __wrap_event_base_dispatch(struct event_base *base);

static void hang(evutil_socket_t signal, short what, void *context)
{
    (void)signal;
    (void)what;
    (void)context;
    for (;;)
        pause();
}

int __wrap_event_base_dispatch(struct event_base *base)
{
    struct event *event = evsignal_new(base, SIGUSR2, hang, NULL);
    if (!event || event_add(event, NULL) < 0)
        return -1;
    int r = __real_event_base_dispatch(base);
    event_free(event);
    return r;
}
