/* The event loop of build/test/edgemindd, a daemon for tests that is linked with
 * --wrap=event_base_dispatch. On SIGUSR2 the loop hangs forever in a callback, as a mistake would
 * make it. All other threads continue. The rest is the real daemon. */
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
