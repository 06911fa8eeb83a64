/* A scripted daemon in the test, and a client that is connected to it: the base of the tests of
 * libedgemind. Answers may be sent before the calls, so that no thread is needed. If the client
 * connects and calls in one function, a successor in a thread answers. */
#pragma once

#include "client/library/edgemind.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ARENA_PAGES = 8, CALL_BYTES_MAX = 4096, ARENAS_MAX = 4 };

static char directory[] = "/tmp/test-libedgemind-XXXXXX";
static struct sockaddr_un address;
static int listener, server;
static size_t page;
static struct edgemind *em;
static int arenas[ARENAS_MAX];
static unsigned n_arenas;

/* Of pages that hold nothing but `first`, `first` + 1 ... The fixture closes it. */
static inline int new_arena(unsigned char first)
{
    int fd = memfd_create("arena", MFD_CLOEXEC);
    unsigned char *bytes = malloc(page);

    for (unsigned i = 0; i < ARENA_PAGES; i++) {
        memset(bytes, (int)(first + i), page);
        ck_assert_int_eq(write(fd, bytes, page), (ssize_t)page);
    }
    free(bytes);
    ck_assert_uint_lt(n_arenas, ARENAS_MAX);
    arenas[n_arenas++] = fd;
    return fd;
}

static inline void listen_anew(void)
{
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listener, 4), 0);
}

static inline int take_client(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static inline void setup(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    strcpy(strrchr(directory, '-'), "-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
    listen_anew();
    em = edgemind_new();
    ck_assert_ptr_nonnull(em);
    ck_assert_int_eq(edgemind_connect(em, address.sun_path), 0);
    server = take_client();
}

static inline void hang_up(void)
{
    if (server >= 0)
        close(server);
    server = -1;
}

static inline void teardown(void)
{
    edgemind_free(em);
    hang_up();
    close(listener);
    unlink(address.sun_path);
    rmdir(directory);
    while (n_arenas > 0)
        close(arenas[--n_arenas]);
}

/* A message, with a descriptor unless that is -1. False if the client has gone. */
static inline bool try_to_say(int client, const char *text, int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec vector = {(char *)(uintptr_t)text, strlen(text) + 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    return sendmsg(client, &message, MSG_NOSIGNAL) == (ssize_t)vector.iov_len;
}

static inline void say_to(int client, const char *text, int fd)
{
    ck_assert(try_to_say(client, text, fd));
}

static inline void say(const char *text)
{
    say_to(server, text, -1);
}

/* The next call of the client, in a static buffer. */
static inline const char *hear_from(int client)
{
    static char text[CALL_BYTES_MAX];
    size_t n = 0;

    do {
        ck_assert_uint_lt(n, sizeof text);
        ck_assert_int_eq(recv(client, text + n, 1, 0), 1);
    } while (text[n++] != '\0');
    return text;
}

#define CALL(method, parameters) \
    "{\"method\":\"io.edgemind.manager." method "\",\"parameters\":" parameters "}"

/* The call waits for no answer, so the test must not send one. */
#define RELEASE(lease)                                                                      \
    "{\"method\":\"io.edgemind.manager.Release\",\"parameters\":{\"lease\":\"" lease "\"}," \
    "\"oneway\":true}"

static inline void expect_call(const char *expected)
{
    ck_assert_str_eq(hear_from(server), expected);
}

/* Checks that the client has sent nothing else. */
static inline void expect_silence(void)
{
    char byte;
    ck_assert_int_eq(recv(server, &byte, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);
}

/* A reply to Acquire or Next: lease and layer, its only segment, its fill, and further members. */
static inline const char *filled_reply(const char *lease, size_t offset, size_t bytes, int fill,
                                       const char *further)
{
    static char text[1024];
    snprintf(text, sizeof text,
             "{\"parameters\":{\"lease\":\"%s\",\"layer\":\"l\",\"bytes\":%zu,\"fill\":%d,"
             "\"segments\":[{\"offset\":%zu,\"length\":%zu}],\"tensors\":[{\"name\":\"w\","
             "\"dtype\":\"U8\",\"shape\":[2,3],\"offset\":1,\"bytes\":6}]%s}}",
             lease, bytes, fill, offset, bytes, further);
    return text;
}

static inline const char *layer_reply(const char *lease, size_t offset, size_t bytes,
                                      const char *further)
{
    return filled_reply(lease, offset, bytes, 1, further);
}

#define WITH_ARENA ",\"arenaFileDescriptor\":0"

static inline const char *stats_reply(void)
{
    static char text[128];
    snprintf(text, sizeof text, "{\"parameters\":{\"arena\":{\"capacityBytes\":%zu},\"new\":{}}}",
             ARENA_PAGES * page);
    return text;
}

/* The first lease of a connection. */
static inline struct edgemind_layer *acquire_first(int arena)
{
    struct edgemind_layer *layer;

    say_to(server, layer_reply("1", page, 10, WITH_ARENA), arena);
    say(stats_reply());
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), 0);
    expect_call(CALL("Acquire", "{\"model\":\"m\",\"layer\":\"l\"}"));
    expect_call(CALL("Stats", "{}"));
    return layer;
}

static inline unsigned char first_byte(const struct edgemind_layer *layer)
{
    return *(const unsigned char *)edgemind_layer_data(layer);
}

enum { ANSWERS_MAX = 8 };

/* A new daemon: accepts one more client and answers each of its calls. */
struct successor {
    bool interrupts;            /* first receives a call on the old connection and closes it */
    unsigned n_deaths;          /* clients before that, whose connections are closed at once */
    int arena;                  /* for the answer that has WITH_ARENA */
    char *answers[ANSWERS_MAX]; /* NULL: no answer, for a call that waits for none */
    size_t n_answers;
    char calls[ANSWERS_MAX][CALL_BYTES_MAX];
    int client;
    pthread_t thread;
};

/* Copies it. */
static inline void will_answer(struct successor *successor, const char *text)
{
    ck_assert_uint_lt(successor->n_answers, ANSWERS_MAX);
    successor->answers[successor->n_answers++] = strdup(text);
}

static inline void will_hear(struct successor *successor)
{
    ck_assert_uint_lt(successor->n_answers, ANSWERS_MAX);
    successor->answers[successor->n_answers++] = NULL;
}

static inline void *succeed(void *argument)
{
    struct successor *successor = argument;

    if (successor->interrupts) {
        hear_from(server);
        hang_up();
    }
    for (unsigned i = 0; i < successor->n_deaths; i++)
        close(take_client());
    successor->client = take_client();
    for (size_t i = 0; i < successor->n_answers; i++) {
        strcpy(successor->calls[i], hear_from(successor->client));
        if (!successor->answers[i])
            continue;
        bool with_arena = strstr(successor->answers[i], WITH_ARENA);
        say_to(successor->client, successor->answers[i], with_arena ? successor->arena : -1);
    }
    return NULL;
}

static inline void start(struct successor *successor)
{
    ck_assert_int_eq(pthread_create(&successor->thread, NULL, succeed, successor), 0);
}

/* Must be called after the library has returned. With `taken` the new connection is used from now
 * on, and the old one has ended. */
static inline void finish(struct successor *successor, bool taken)
{
    char byte;

    pthread_join(successor->thread, NULL);
    for (size_t i = 0; i < successor->n_answers; i++)
        free(successor->answers[i]);
    if (!taken) {
        close(successor->client);
        return;
    }
    if (server >= 0)
        ck_assert_int_le(recv(server, &byte, 1, 0), 0);
    hang_up();
    server = successor->client;
}

static inline void expect_calls(const struct successor *successor, const char *first,
                                const char *second, const char *third)
{
    const char *const expected[] = {first, second, third};

    for (size_t i = 0; i < 3; i++)
        ck_assert_str_eq(successor->calls[i], expected[i] ? expected[i] : "");
}

/* Checks that no client has tried to connect. */
static inline void expect_no_client(void)
{
    struct pollfd fd = {.fd = listener, .events = POLLIN};
    ck_assert_int_eq(poll(&fd, 1, 0), 0);
}
