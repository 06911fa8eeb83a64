/* A daemon that answers what the fuzzer wants. Each call gets the input's next line as its answer,
 * with the NUL that a message needs, in pieces of several sizes. After an answer that says that it
 * continues comes the next line, too. An answer that names a descriptor comes with an arena. A line
 * "-" hangs up, and so does the end of the input: then nobody listens any more. */
#pragma once

#include "tests/fuzz/fuzz.h"

#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>

enum { HOSTILE_ARENA_PAGES = 8 };

struct hostile_server {
    const uint8_t *data;
    size_t n_bytes;
    unsigned step, n_pieces;
    int listener, arena, stop; /* `stop` becomes readable at the end */
    int stopper;
    struct sockaddr_un address;
    pthread_t thread;
};

/* Takes the next line. False: there is none, or it says to hang up. */
static inline bool hostile_line(struct hostile_server *server, const uint8_t **ret, size_t *ret_n)
{
    const uint8_t *end = server->n_bytes ? memchr(server->data, '\n', server->n_bytes) : NULL;
    size_t n = end ? (size_t)(end - server->data) : server->n_bytes;

    if (server->n_bytes == 0)
        return false;
    *ret = server->data;
    *ret_n = n;
    n += end ? 1 : 0;
    server->data += n;
    server->n_bytes -= n;
    return !(*ret_n == 1 && **ret == '-');
}

static inline bool hostile_say(struct hostile_server *server, int client, const uint8_t *line,
                               size_t n_line)
{
    int fd = memmem(line, n_line, "escriptor", 9) ? server->arena : -1;

    for (size_t i = 0; i <= n_line;) {
        char piece[256];
        size_t n = 1 + (size_t)server->step * ++server->n_pieces % 251;
        if (n > n_line + 1 - i)
            n = n_line + 1 - i;
        size_t n_text = i + n > n_line ? n - 1 : n;
        memcpy(piece, line + i, n_text);
        piece[n_text] = '\0'; /* the last piece has it */
        if (fuzz_send(client, piece, n, fd) != (ssize_t)n)
            return false;
        fd = -1;
        i += n;
    }
    return true;
}

/* Reads one call. False: the client has gone, or the input is over. `ret_oneway`: it wants no
 * answer. */
static inline bool hostile_hear(const struct hostile_server *server, int client, bool *ret_oneway)
{
    struct pollfd ready[] = {{.fd = client, .events = POLLIN},
                             {.fd = server->stop, .events = POLLIN}};
    static char call[1 << 20];
    size_t n = 0;

    do {
        if (poll(ready, 2, -1) < 0 || !ready[0].revents || n == sizeof call ||
            recv(client, call + n, 1, 0) != 1)
            return false;
    } while (call[n++] != '\0');
    *ret_oneway = strstr(call, "\"oneway\":true") != NULL;
    return true;
}

static inline bool hostile_answer(struct hostile_server *server, int client)
{
    const uint8_t *line;
    size_t n;

    do {
        if (!hostile_line(server, &line, &n) || !hostile_say(server, client, line, n))
            return false;
    } while (memmem(line, n, "\"continues\":true", 16));
    return true;
}

static inline void *hostile_run(void *context)
{
    struct hostile_server *server = context;
    struct pollfd ready[] = {{.fd = server->listener, .events = POLLIN},
                             {.fd = server->stop, .events = POLLIN}};
    bool is_oneway;

    while (server->n_bytes > 0 && poll(ready, 2, -1) > 0 && !ready[1].revents) {
        int client = accept(server->listener, NULL, NULL);
        REQUIRE(client >= 0);
        while (hostile_hear(server, client, &is_oneway))
            if (!is_oneway && !hostile_answer(server, client))
                break;
        close(client);
    }
    close(server->listener); /* hangs up on clients that were not accepted, and refuses others */
    return NULL;
}

/* The first byte of the input decides the sizes of the pieces, and how long the arena is. */
static inline void hostile_start(struct hostile_server *server, const uint8_t *data, size_t n_bytes)
{
    const char *directory = getenv("TMPDIR");
    long page_bytes = sysconf(_SC_PAGESIZE);
    int pipe_fds[2];

    *server = (struct hostile_server){.data = data, .n_bytes = n_bytes};
    if (n_bytes > 0) {
        server->step = *server->data++;
        server->n_bytes--;
    }
    server->arena = memfd_create("arena", MFD_CLOEXEC);
    REQUIRE(ftruncate(server->arena,
                      page_bytes * (server->step % 16 == 9 ? 1 : HOSTILE_ARENA_PAGES)) == 0);
    REQUIRE(pipe(pipe_fds) == 0);
    server->stop = pipe_fds[0];
    server->stopper = pipe_fds[1];
    server->address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(server->address.sun_path, sizeof server->address.sun_path, "%s/edgemind-fuzz-%d",
             directory ? directory : "/tmp", (int)getpid());
    unlink(server->address.sun_path);
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(bind(server->listener, (struct sockaddr *)&server->address, sizeof server->address) ==
                0 &&
            listen(server->listener, 4) == 0);
    REQUIRE(pthread_create(&server->thread, NULL, hostile_run, server) == 0);
}

static inline void hostile_end(struct hostile_server *server)
{
    close(server->stopper);
    REQUIRE(pthread_join(server->thread, NULL) == 0);
    close(server->stop);
    close(server->arena);
    unlink(server->address.sun_path);
}
