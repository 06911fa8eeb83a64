/* The whole daemon in the fuzzer's process, with a hostile and an honest client in another thread.
 *
 * The honest client is connected by a socket pair. When it closes its end, the daemon ends. Before
 * that, nothing may be left of what the hostile one has done: no lease, no model, no descriptor. */
#pragma once

#include "common/cleanup.h"
#include "daemon/daemon.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/count_open.h"

#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>

enum {
    FUZZ_PAIR_FD = 3, /* sd_listen_fds(3): the first that is passed */
    FUZZ_LISTEN_FD = 4,
    FUZZ_REPLY_BYTES_MAX = 4 << 20,
    FUZZ_GIVE_UP_MSEC = 10000
};

struct fuzz_client {
    int fd;
    bool has_ended; /* the daemon has hung up */
    size_t n;
    char bytes[FUZZ_REPLY_BYTES_MAX];
};

/* A weight file of two layers, "layers.0" and "layers.1", in memory. */
static inline int fuzz_weight_file(void)
{
    static const char header[] =
        "{\"layers.0.w\":{\"dtype\":\"U8\",\"shape\":[5000],\"data_offsets\":[0,5000]},"
        "\"layers.1.w\":{\"dtype\":\"U8\",\"shape\":[9000],\"data_offsets\":[5000,14000]}}";
    uint64_t n_header = sizeof header - 1;
    int fd = memfd_create("weights", MFD_CLOEXEC);

    REQUIRE(fd >= 0 && ftruncate(fd, (off_t)(8 + n_header + 14000)) == 0);
    REQUIRE(pwrite(fd, &n_header, 8, 0) == 8);
    REQUIRE(pwrite(fd, header, n_header, 8) == (ssize_t)n_header);
    return fd;
}

static inline void fuzz_check_reply(const json_t *reply)
{
    const char *error = json_string_value(json_object_get(reply, "error"));

    REQUIRE(json_is_object(reply));
    REQUIRE(!json_object_get(reply, "parameters") ||
            json_is_object(json_object_get(reply, "parameters")));
    if (json_object_get(reply, "error"))
        REQUIRE(error && (strncmp(error, "io.edgemind.manager.", 20) == 0 ||
                          strncmp(error, "org.varlink.service.", 20) == 0));
}

/* Takes the next reply that has arrived. NULL: there is none. */
static inline json_t *fuzz_take_reply(struct fuzz_client *client)
{
    const char *end = memchr(client->bytes, '\0', client->n);

    if (!end)
        return NULL;
    json_t *reply = json_loads(client->bytes, 0, NULL);
    fuzz_check_reply(reply);
    client->n -= (size_t)(end + 1 - client->bytes);
    memmove(client->bytes, end + 1, client->n);
    return reply;
}

/* Reads what has arrived, or waits for it. Descriptors are dropped by the kernel. Returns false at
 * the end of the stream, or when nothing comes. */
static inline bool fuzz_fill(struct fuzz_client *client, int wait_msec)
{
    struct pollfd ready = {.fd = client->fd, .events = POLLIN};

    REQUIRE(client->n < sizeof client->bytes);
    if (poll(&ready, 1, wait_msec) <= 0)
        return false;
    ssize_t n =
        recv(client->fd, client->bytes + client->n, sizeof client->bytes - client->n, MSG_DONTWAIT);
    if (n <= 0) {
        client->has_ended = true;
        return false;
    }
    client->n += (size_t)n;
    return true;
}

/* Waits for a reply, which the caller owns. NULL: the connection has ended. */
static inline json_t *fuzz_next_reply(struct fuzz_client *client)
{
    json_t *reply;

    while (!(reply = fuzz_take_reply(client)) && fuzz_fill(client, FUZZ_GIVE_UP_MSEC))
        ;
    REQUIRE(reply || client->has_ended);
    return reply;
}

/* Makes a call and waits for its reply. */
static inline json_t *fuzz_call(struct fuzz_client *client, const char *text, int fd)
{
    client->has_ended |= fuzz_send(client->fd, text, strlen(text) + 1, fd) < 0;
    return client->has_ended ? NULL : fuzz_next_reply(client);
}

#define FUZZ_CALL(method, parameters) \
    "{\"method\":\"io.edgemind.manager." method "\",\"parameters\":{" parameters "}}"

/* Whether the honest client's call succeeds. Refused it may only be as "Busy", because cancelled
 * loads take a moment to end. */
static inline bool fuzz_honest_call(struct fuzz_client *honest, const char *text)
{
    json_t *reply = fuzz_call(honest, text, -1);
    REQUIRE(reply);
    const char *error = json_string_value(json_object_get(reply, "error"));
    REQUIRE(!error || strcmp(error, "io.edgemind.manager.Busy") == 0);
    json_decref(reply);
    return !error;
}

#define FUZZ_WAIT_UNTIL(condition)                     \
    for (int n_tries_ = 0; !(condition); usleep(1000)) \
    REQUIRE(++n_tries_ < FUZZ_GIVE_UP_MSEC)

static inline void fuzz_unload_models(struct fuzz_client *honest)
{
    json_t *reply = fuzz_call(honest, FUZZ_CALL("List", ""), -1), *models, *model;
    size_t i;

    REQUIRE(reply && json_unpack(reply, "{s:{s:o}}", "parameters", "models", &models) == 0);
    json_array_foreach (models, i, model) {
        json_t *call = json_pack("{s:s, s:{s:O}}", "method", "io.edgemind.manager.UnloadModel",
                                 "parameters", "model", json_object_get(model, "name"));
        char *text = json_dumps(call, 0);
        REQUIRE(text);
        FUZZ_WAIT_UNTIL(fuzz_honest_call(honest, text));
        free(text);
        json_decref(call);
    }
    json_decref(reply);
}

/* When the hostile client has gone, nothing that it caused remains. */
static inline void fuzz_check_daemon(struct fuzz_client *honest, size_t n_open)
{
    json_int_t used, drift, n_runs, n_views, n_connections;

    FUZZ_WAIT_UNTIL(fuzz_honest_call(honest, FUZZ_CALL("Reset", "")));
    fuzz_unload_models(honest);
    FUZZ_WAIT_UNTIL(count_open() == n_open);
    json_t *reply = fuzz_call(honest, FUZZ_CALL("Stats", ""), -1);
    REQUIRE(reply && json_unpack(reply, "{s:{s:{s:I}, s:{s:I}, s:{s:I}, s:{s:I}, s:{s:I}}}",
                                 "parameters", "arena", "usedBytes", &used, "monitor", "driftBytes",
                                 &drift, "scheduler", "runs", &n_runs, "views", "count", &n_views,
                                 "control", "connections", &n_connections) == 0);
    REQUIRE(used == 0 && drift == 0 && n_runs == 0 && n_views == 0 && n_connections == 1);
    json_decref(reply);
}

typedef void (*fuzz_attack)(struct fuzz_client *hostile, struct fuzz_client *honest, void *context);

struct fuzz_clients {
    fuzz_attack attack;
    void *context;
    int honest_fd;
    struct sockaddr_un address;
    socklen_t n_address;
};

static inline void *fuzz_run_clients(void *context)
{
    static struct fuzz_client hostile, honest;
    const struct fuzz_clients *clients = context;

    honest.fd = clients->honest_fd;
    honest.n = hostile.n = 0;
    honest.has_ended = hostile.has_ended = false;
    REQUIRE(fuzz_honest_call(&honest, FUZZ_CALL("Stats", "")));
    size_t n_open = count_open();
    hostile.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(connect(hostile.fd, (const struct sockaddr *)&clients->address, clients->n_address) ==
            0);
    clients->attack(&hostile, &honest, clients->context);
    close(hostile.fd);
    fuzz_check_daemon(&honest, n_open);
    close(honest.fd);
    return NULL;
}

/* Between the runs nothing else may get the numbers of the daemon's descriptors. */
__attribute__((constructor)) static void fuzz_reserve(void)
{
    for (int i = FUZZ_PAIR_FD; i <= FUZZ_LISTEN_FD; i++)
        REQUIRE(fcntl(i, F_GETFD) >= 0 || dup2(STDERR_FILENO, i) == i);
}

/* Moves a descriptor to the number at which the daemon expects it. */
static inline void fuzz_pass(int fd, int number)
{
    REQUIRE(dup3(fd, number, O_CLOEXEC) == number);
    close(fd);
}

/* An empty file, so that the machine's own configuration has no effect. */
static inline int fuzz_empty_file(void)
{
    static int fd = -1;

    if (fd < 0)
        fd = memfd_create("empty", MFD_CLOEXEC);
    REQUIRE(fd > FUZZ_LISTEN_FD);
    return fd;
}

static inline void fuzz_daemon(fuzz_attack attack, void *context)
{
    char config_option[64];
    char *arguments[] = {(char[]){"edgemindd"},
                         config_option,
                         (char[]){"--capacity=64K"},
                         (char[]){"--huge-pages=never"},
                         (char[]){"--loaders=1"},
                         (char[]){"--log-level=error"},
                         (char[]){"--monitor-interval=1h"}, /* sanitizers need much: */
                         (char[]){"--overhead-limit=1T"},
                         NULL};
    struct fuzz_clients clients = {.attack = attack, .context = context};
    int n_arguments = sizeof arguments / sizeof arguments[0] - 1, pair[2];
    struct config config;
    enum config_action action;
    char why[CONFIG_WHY_MAX], pid[16];
    pthread_t thread;

    snprintf(config_option, sizeof config_option, "--config=/proc/self/fd/%d", fuzz_empty_file());
    size_t n_open = count_open();
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    clients.n_address = fuzz_address(&clients.address);
    REQUIRE(bind(listener, (struct sockaddr *)&clients.address, clients.n_address) == 0);
    REQUIRE(listen(listener, 4) == 0);
    clients.honest_fd = pair[0];
    fuzz_pass(pair[1], FUZZ_PAIR_FD);
    fuzz_pass(listener, FUZZ_LISTEN_FD);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    REQUIRE(setenv("LISTEN_PID", pid, 1) == 0 && setenv("LISTEN_FDS", "2", 1) == 0);

    REQUIRE(config_load(n_arguments, arguments, &config, &action, why) == 0);
    log_set_level(config.log_level);
    REQUIRE(pthread_create(&thread, NULL, fuzz_run_clients, &clients) == 0);
    REQUIRE(daemon_run(&config, n_arguments, arguments) == EXIT_SUCCESS);
    REQUIRE(pthread_join(thread, NULL) == 0);
    config_done(&config);
    fuzz_reserve();
    REQUIRE(count_open() == n_open);
}
