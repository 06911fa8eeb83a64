/* Gets one large value, which its server has in memory, and reads all of it.
 *   acquire edgemind SOCKET MODEL LAYER COUNT
 *   acquire memcached|redis SOCKET KEY BYTES COUNT
 * Prints microseconds: of the first time (connect, get, read every byte); then, on the same
 * connection, medians of COUNT times that get the value again, to where there is memory already,
 * and do not read it: without and with what gives it back. Last comes the sum of the bytes. */
#include "client/library/edgemind.h"
#include "common/clock.h"
#include "tests/bench/sum.h"

#include <err.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct timing {
    uint64_t first_usec;
    uint64_t *again_usec, *returned_usec; /* `count` times of each kind */
    size_t count;
    uint64_t sum;
};

static void acquire(struct edgemind *em, const char *model, const char *layer,
                    struct edgemind_layer **ret)
{
    if (edgemind_acquire(em, model, layer, 0, ret) < 0)
        errx(1, "%s", edgemind_error_text(em));
}

static void time_edgemind(struct timing *timing, const char *path, const char *model,
                          const char *name)
{
    struct edgemind_layer *layer;
    uint64_t begin = clock_monotonic_usec();
    struct edgemind *em = edgemind_new();
    if (edgemind_connect(em, path) < 0)
        errx(1, "%s", edgemind_error_text(em));
    acquire(em, model, name, &layer);
    timing->sum = sum_words(edgemind_layer_data(layer), edgemind_layer_bytes(layer));
    timing->first_usec = clock_monotonic_usec() - begin;
    edgemind_release(layer);

    for (size_t i = 0; i < timing->count; i++) {
        begin = clock_monotonic_usec();
        acquire(em, model, name, &layer);
        timing->again_usec[i] = clock_monotonic_usec() - begin;
        if (edgemind_release(layer) < 0)
            errx(1, "%s", edgemind_error_text(em));
        timing->returned_usec[i] = clock_monotonic_usec() - begin;
    }
    edgemind_free(em);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        err(1, "%s", path);
    return fd;
}

/* A request to a cache, and the text before and after the value in its reply. */
struct exchange {
    char request[256], before[256];
    const char *after;
};

static void describe(struct exchange *exchange, const char *cache, const char *key, size_t n_bytes)
{
    bool redis = strcmp(cache, "redis") == 0;
    snprintf(exchange->request, sizeof exchange->request, "get %s\r\n", key);
    if (redis)
        snprintf(exchange->before, sizeof exchange->before, "$%zu\r\n", n_bytes);
    else
        snprintf(exchange->before, sizeof exchange->before, "VALUE %s 0 %zu\r\n", key, n_bytes);
    exchange->after = redis ? "\r\n" : "\r\nEND\r\n";
}

/* Receives the whole reply into the buffer. Returns the place of the value in it. */
static const char *get(int fd, const struct exchange *exchange, char *buffer, size_t n_bytes)
{
    size_t n_request = strlen(exchange->request), n_before = strlen(exchange->before);
    size_t n_after = strlen(exchange->after), n_read = 0;
    if (write(fd, exchange->request, n_request) != (ssize_t)n_request)
        err(1, "write");
    while (n_read < n_before + n_bytes + n_after) {
        ssize_t n = read(fd, buffer + n_read, n_before + n_bytes + n_after - n_read);
        if (n <= 0)
            err(1, "read");
        if (n_read < n_before &&
            memcmp(buffer, exchange->before,
                   n_read + (size_t)n < n_before ? n_read + (size_t)n : n_before))
            errx(1, "the value is not there");
        n_read += (size_t)n;
    }
    if (memcmp(buffer + n_before + n_bytes, exchange->after, n_after) != 0)
        errx(1, "the reply does not end where it should");
    return buffer + n_before;
}

static void time_cache(struct timing *timing, const char *cache, const char *path, const char *key,
                       size_t n_bytes)
{
    struct exchange exchange;
    describe(&exchange, cache, key, n_bytes);

    uint64_t begin = clock_monotonic_usec();
    int fd = connect_to(path);
    char *buffer = malloc(n_bytes + 2 * sizeof exchange.before);
    if (!buffer)
        err(1, "malloc");
    timing->sum = sum_words(get(fd, &exchange, buffer, n_bytes), n_bytes);
    timing->first_usec = clock_monotonic_usec() - begin;

    for (size_t i = 0; i < timing->count; i++) {
        begin = clock_monotonic_usec();
        get(fd, &exchange, buffer, n_bytes);
        timing->again_usec[i] = timing->returned_usec[i] = clock_monotonic_usec() - begin;
    }
    free(buffer);
    close(fd);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

int main(int argc, char **argv)
{
    const char *server = argc == 6 ? argv[1] : "";
    bool edgemind = strcmp(server, "edgemind") == 0;
    struct timing timing = {.count = argc == 6 ? strtoul(argv[5], NULL, 10) : 0};
    if (timing.count == 0 ||
        (!edgemind && strcmp(server, "memcached") != 0 && strcmp(server, "redis") != 0)) {
        fprintf(stderr, "usage: acquire edgemind SOCKET MODEL LAYER COUNT\n"
                        "       acquire memcached|redis SOCKET KEY BYTES COUNT\n");
        return 2;
    }
    timing.again_usec = calloc(timing.count, sizeof *timing.again_usec);
    timing.returned_usec = calloc(timing.count, sizeof *timing.returned_usec);
    if (!timing.again_usec || !timing.returned_usec)
        err(1, "calloc");

    if (edgemind)
        time_edgemind(&timing, argv[2], argv[3], argv[4]);
    else
        time_cache(&timing, server, argv[2], argv[3], strtoul(argv[4], NULL, 10));
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", timing.first_usec,
           median(timing.again_usec, timing.count), median(timing.returned_usec, timing.count),
           timing.sum);
    free(timing.again_usec);
    free(timing.returned_usec);
    return 0;
}
