/* Serves the metrics over HTTP: GET /metrics, one request on each connection.
 *
 * It has no effect on other work: at most SCRAPE_CONNECTIONS_MAX connections are open, and others
 * wait in the kernel; they are accepted SCRAPE_APART_USEC apart; a connection ends after
 * SCRAPE_USEC_MAX, whether the client sends too slowly or reads too slowly; and all requests within
 * SCRAPE_FRESH_USEC get the same text. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SCRAPE_CONNECTIONS_MAX = 16,
    SCRAPE_USEC_MAX = 5 * 1000 * 1000,
    SCRAPE_APART_USEC = 10 * 1000,
    SCRAPE_FRESH_USEC = 100 * 1000,
    SCRAPE_HEADERS_BYTES_MAX = 8 << 10,
    SCRAPE_TEXT_BYTES_MAX = 64 << 10,
    /* A reply and a request in the process and in the kernel. */
    SCRAPE_CONNECTION_BYTES = 3 * SCRAPE_TEXT_BYTES_MAX,
};

/* Writes the text. Returns its length or a negative errno. */
typedef int (*scrape_format)(char text[static SCRAPE_TEXT_BYTES_MAX], void *context);

struct scrape_server;

/* Takes a listening, non-blocking socket, also on failure. Returns 0 or -ENOMEM. */
int scrape_server_new(struct event_base *base, int fd, scrape_format format, void *context,
                      struct scrape_server **ret);
struct scrape_server *scrape_server_free(struct scrape_server *server);
