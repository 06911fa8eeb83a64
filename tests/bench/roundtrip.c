/* Times one request after another, then many in flight, over a Unix socket: the same client for the
 * daemon and for its peer.
 *   roundtrip SOCKET stats|ping COUNT
 * Prints: median and 99th percentile of a round trip in microseconds, and requests a second with 64
 * in flight. */
#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct peer_protocol {
    const char *name;
    const char *request;
    size_t request_bytes;
    char end; /* of a reply */
};

static const char stats_request[] = "{\"method\":\"io.edgemind.manager.Stats\"}"; /* with its NUL */

static const struct peer_protocol protocols[] = {
    {"stats", stats_request, sizeof(stats_request), '\0'},
    {"ping", "PING\r\n", 6, '\n'},
};

enum { IN_FLIGHT = 64 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void send_all(int fd, const char *bytes, size_t n_bytes)
{
    while (n_bytes > 0) {
        ssize_t n = write(fd, bytes, n_bytes);
        if (n <= 0)
            fail("write");
        bytes += n;
        n_bytes -= (size_t)n;
    }
}

/* Reads until `n_replies` ends have come, or more if they are there already; returns how many. */
static size_t receive(int fd, char end, size_t n_replies)
{
    static char buffer[256 << 10];
    size_t n_ends = 0;
    while (n_ends < n_replies) {
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n <= 0)
            fail("read");
        for (const char *p = buffer; (p = memchr(p, end, (size_t)(buffer + n - p))); p++)
            n_ends++;
    }
    return n_ends;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    const struct peer_protocol *protocol = NULL;
    size_t count = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    for (size_t i = 0; argc == 4 && i < sizeof(protocols) / sizeof(*protocols); i++)
        if (strcmp(protocols[i].name, argv[2]) == 0)
            protocol = &protocols[i];
    if (!protocol || count < IN_FLIGHT) {
        fprintf(stderr, "usage: roundtrip SOCKET stats|ping COUNT (at least %d)\n", IN_FLIGHT);
        return 2;
    }

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", argv[1]);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail(argv[1]);

    uint64_t *nsec = calloc(count, sizeof(*nsec));
    if (!nsec)
        fail("calloc");
    for (size_t i = 0; i < count; i++) {
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        send_all(fd, protocol->request, protocol->request_bytes);
        receive(fd, protocol->end, 1);
        clock_gettime(CLOCK_MONOTONIC, &end);
        nsec[i] =
            (uint64_t)((end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec);
    }
    qsort(nsec, count, sizeof(*nsec), compare);

    uint64_t begin = clock_monotonic_usec();
    size_t n_sent = 0, n_received = 0;
    while (n_received < count) {
        for (; n_sent < count && n_sent - n_received < IN_FLIGHT; n_sent++)
            send_all(fd, protocol->request, protocol->request_bytes);
        n_received += receive(fd, protocol->end, 1);
    }
    double seconds = (double)(clock_monotonic_usec() - begin) / 1e6;

    printf("%.1f %.1f %.0f\n", (double)nsec[count / 2] / 1e3, (double)nsec[count * 99 / 100] / 1e3,
           (double)count / seconds);
    free(nsec);
    close(fd);
    return 0;
}
