/* Owns the HTTP server of the metrics, the file of its Unix socket, and the timer that measures how
 * late the loop is. Without the option there is no timer, so that an idle daemon is not woken. */
#include "daemon/scrapes.h"

#include "common/clock.h"
#include "common/log.h"
#include "daemon/metrics/listen_address.h"
#include "daemon/metrics/scrape_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TICK_USEC = 100 * 1000 };
_Static_assert((int)SCRAPE_TEXT_BYTES_MAX == (int)EXPOSITION_BYTES_MAX, "one text is one reply");

struct scrapes {
    const struct manager *manager;
    struct scrape_server *server;
    struct event *tick;
    uint64_t due_usec; /* when the timer should run next */
    char *path;        /* of the Unix socket; NULL: none */
};

static int format(char text[static SCRAPE_TEXT_BYTES_MAX], void *context)
{
    const struct scrapes *scrapes = context;
    struct exposition_facts facts;
    manager_facts(scrapes->manager, &facts);
    return exposition_format(scrapes->manager->scheduler, scrapes->manager->metrics, &facts, text);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    struct scrapes *scrapes = context;
    uint64_t now_usec = clock_monotonic_usec();
    (void)fd;
    (void)what;

    metrics_add_duration(scrapes->manager->metrics, METRICS_LOOP_LAG,
                         now_usec > scrapes->due_usec ? now_usec - scrapes->due_usec : 0);
    scrapes->due_usec = now_usec + TICK_USEC;
    event_add(scrapes->tick, &(struct timeval){.tv_usec = TICK_USEC});
}

static int fail(const char *address, int error)
{
    log_error("metrics-listen: cannot listen on %s: %s", address, strerror(-error));
    return error;
}

int scrapes_start(const struct config *config, const struct manager *manager, gid_t gid,
                  struct scrapes **ret)
{
    const char *address = config->metrics_listen;

    *ret = NULL;
    if (!address)
        return 0;
    struct scrapes *scrapes = calloc(1, sizeof *scrapes);
    if (!scrapes)
        return fail(address, -ENOMEM);
    scrapes->manager = manager;
    int fd = listen_address_open(address, gid);
    if (fd < 0) {
        free(scrapes);
        return fail(address, fd);
    }
    if (*address == '/')
        scrapes->path = strdup(address);
    int r = scrape_server_new(manager->base, fd, format, scrapes, &scrapes->server);
    scrapes->tick = event_new(manager->base, -1, 0, on_tick, scrapes);
    scrapes->due_usec = clock_monotonic_usec() + TICK_USEC;
    if (r < 0 || (*address == '/' && !scrapes->path) || !scrapes->tick ||
        event_add(scrapes->tick, &(struct timeval){.tv_usec = TICK_USEC}) < 0) {
        scrapes_free(scrapes);
        return fail(address, -ENOMEM);
    }
    *ret = scrapes;
    return 0;
}

struct scrapes *scrapes_free(struct scrapes *scrapes)
{
    if (!scrapes)
        return NULL;
    scrape_server_free(scrapes->server);
    if (scrapes->tick)
        event_free(scrapes->tick);
    if (scrapes->path)
        unlink(scrapes->path);
    free(scrapes->path);
    free(scrapes);
    return NULL;
}
