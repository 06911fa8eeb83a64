/* Times one request after another, then many in flight, over a Unix socket: the same client for the
 * daemon and for its peer.
 *   roundtrip SOCKET stats|ping COUNT
 * Prints: median and 99th percentile of a round trip in microseconds, and requests a second with 64
 * in flight.
 *   roundtrip SOCKET call MESSAGE
 * Prints: the seconds that one call took.
 *   roundtrip SOCKET during MESSAGE
 * Prints: median and 99th percentile of Stats on another connection while that call was on. */
#include "common/clock.h"

#include <poll.h>
#include <stdbool.h>
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

static char buffer[256 << 10];

/* Reads until at least `n_replies` replies have ended; returns their number. */
static size_t receive(int fd, char end, size_t n_replies)
{
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

/* For a call whose reply arrives in one piece. */
static void receive_success(int fd)
{
    receive(fd, '\0', 1);
    if (strstr(buffer, "\"error\":")) {
        fprintf(stderr, "%s\n", buffer);
        exit(1);
    }
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail(path);
    return fd;
}

/* Nanoseconds of one round trip. */
static uint64_t round_trip(int fd, const struct peer_protocol *protocol)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    send_all(fd, protocol->request, protocol->request_bytes);
    receive(fd, protocol->end, 1);
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (uint64_t)((end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t *allocate(size_t count)
{
    uint64_t *nsec = calloc(count, sizeof(*nsec));
    if (!nsec)
        fail("calloc");
    return nsec;
}

static void print_quantiles(uint64_t *nsec, size_t count)
{
    qsort(nsec, count, sizeof(*nsec), compare);
    printf("%.1f %.1f", (double)nsec[count / 2] / 1e3, (double)nsec[count * 99 / 100] / 1e3);
}

static void time_requests(int fd, const struct peer_protocol *protocol, size_t count)
{
    uint64_t *nsec = allocate(count);
    for (size_t i = 0; i < count; i++)
        nsec[i] = round_trip(fd, protocol);
    print_quantiles(nsec, count);
    free(nsec);

    uint64_t begin = clock_monotonic_usec();
    size_t n_sent = 0, n_received = 0;
    while (n_received < count) {
        for (; n_sent < count && n_sent - n_received < IN_FLIGHT; n_sent++)
            send_all(fd, protocol->request, protocol->request_bytes);
        n_received += receive(fd, protocol->end, 1);
    }
    printf(" %.0f\n", (double)count / ((double)(clock_monotonic_usec() - begin) / 1e6));
}

static void time_call(int fd, const char *message)
{
    uint64_t begin = clock_monotonic_usec();
    send_all(fd, message, strlen(message) + 1);
    receive_success(fd);
    printf("%.6f\n", (double)(clock_monotonic_usec() - begin) / 1e6);
}

static void time_during(int call_fd, int fd, const char *message)
{
    enum { COUNT_MAX = 1 << 20 };
    uint64_t *nsec = allocate(COUNT_MAX);
    size_t count = 0;
    struct pollfd ended = {.fd = call_fd, .events = POLLIN};

    send_all(call_fd, message, strlen(message) + 1);
    do
        nsec[count++] = round_trip(fd, &protocols[0]);
    while (count < COUNT_MAX && poll(&ended, 1, 0) == 0);
    receive_success(call_fd);
    print_quantiles(nsec, count);
    printf(" %zu\n", count);
    free(nsec);
}

int main(int argc, char **argv)
{
    const char *mode = argc == 4 ? argv[2] : "";
    const struct peer_protocol *protocol = NULL;
    for (size_t i = 0; i < sizeof(protocols) / sizeof(*protocols); i++)
        if (strcmp(protocols[i].name, mode) == 0)
            protocol = &protocols[i];
    size_t count = protocol ? strtoul(argv[3], NULL, 10) : 0;
    bool call = strcmp(mode, "call") == 0, during = strcmp(mode, "during") == 0;
    if (!call && !during && count < IN_FLIGHT) {
        fprintf(stderr,
                "usage: roundtrip SOCKET stats|ping COUNT (at least %d)\n"
                "       roundtrip SOCKET call|during MESSAGE\n",
                IN_FLIGHT);
        return 2;
    }

    int fd = connect_to(argv[1]);
    if (call) {
        time_call(fd, argv[3]);
    } else if (during) {
        int other_fd = connect_to(argv[1]);
        time_during(fd, other_fd, argv[3]);
        close(other_fd);
    } else {
        time_requests(fd, protocol, count);
    }
    close(fd);
    return 0;
}
