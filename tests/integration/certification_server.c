/* Serves org.varlink.certification through the daemon's own server, so that public Varlink clients
 * can certify it:
 *   certification_server --socket PATH
 * Ends cleanly on SIGTERM and SIGINT.
 *
 * A client calls Start, Test01 to Test11 and End; each call's parameters are the reply before it.
 * End says all_ok if and only if the client took every step, in order and as it should. */
#include "daemon/control/call.h"
#include "daemon/control/connection.h"
#include "daemon/control/server.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CERTIFICATION "org.varlink.certification"

extern const char certification_text[];
__asm__(".pushsection .rodata\n"
        ".global certification_text\n"
        "certification_text:\n"
        ".incbin \"tests/integration/org.varlink.certification.varlink\"\n"
        ".byte 0\n"
        ".popsection\n");

enum { CLIENTS_MAX = 16, STREAM_REPLIES = 10 };

struct client {
    char id[2 * sizeof(uint64_t) + 1];
    size_t next_step; /* index into steps; 0: no client */
};

struct certification {
    struct client clients[CLIENTS_MAX];
    size_t n_started;
};

#define STRUCTURE \
    "{\"bool\":false,\"int\":2,\"float\":3.141592653589793,\"string\":\"a lot of string\"}"
#define DICTIONARY "{\"foo\":\"Foo\",\"bar\":\"Bar\"}"
#define SET        "{\"one\":{},\"two\":{},\"three\":{}}"

/* The reply of a step, except for Start (whose reply is the new client's id) and Test10 (a
 * stream). */
static const struct step {
    const char *method;
    const char *reply;
} steps[] = {
    {"Start", "{}"},
    {"Test01", "{\"bool\":true}"},
    {"Test02", "{\"int\":1}"},
    {"Test03", "{\"float\":1.0}"},
    {"Test04", "{\"string\":\"ping\"}"},
    {"Test05", STRUCTURE},
    {"Test06", "{\"struct\":" STRUCTURE "}"},
    {"Test07", "{\"map\":" DICTIONARY "}"},
    {"Test08", "{\"set\":" SET "}"},
    {"Test09", "{\"mytype\":{"
               "\"object\":{\"method\":\"org.varlink.certification.Test09\","
               "\"parameters\":{\"map\":" DICTIONARY "}},"
               "\"enum\":\"two\",\"struct\":{\"first\":1,\"second\":\"2\"},"
               "\"array\":[\"one\",\"two\",\"three\"],\"dictionary\":" DICTIONARY ","
               "\"stringset\":" SET ",\"nullable\":null,\"nullable_array_struct\":null,"
               "\"interface\":{\"foo\":[null,{\"foo\":\"foo\",\"bar\":\"bar\"},null,"
               "{\"one\":\"foo\",\"two\":\"bar\"}],\"anon\":{\"foo\":true,\"bar\":false}}}}"},
    {"Test10", "{\"last_more_replies\":[\"Reply number 1\",\"Reply number 2\",\"Reply number 3\","
               "\"Reply number 4\",\"Reply number 5\",\"Reply number 6\",\"Reply number 7\","
               "\"Reply number 8\",\"Reply number 9\",\"Reply number 10\"]}"},
    {"Test11", "{}"},
    {"End", "{\"all_ok\":true}"},
};
enum { N_STEPS = sizeof steps / sizeof steps[0], STREAM_STEP = 10, ONEWAY_STEP = 11 };

static json_t *parse(const char *text)
{
    return json_loads(text, 0, NULL);
}

static bool is_null(const json_t *value)
{
    return !value || json_is_null(value);
}

/* Whether two values are equal in Varlink: 1 equals 1.0, and a null member equals an absent one. */
static bool matches(json_t *wanted, json_t *got)
{
    const char *key;
    json_t *value;
    size_t i;

    if (is_null(wanted) || is_null(got))
        return is_null(wanted) && is_null(got);
    if (json_is_number(wanted) && json_is_number(got))
        return json_number_value(wanted) == json_number_value(got);
    if (json_typeof(wanted) != json_typeof(got))
        return false;
    if (json_is_array(wanted)) {
        json_array_foreach (wanted, i, value) {
            if (!matches(value, json_array_get(got, i)))
                return false;
        }
        return json_array_size(wanted) == json_array_size(got);
    }
    if (!json_is_object(wanted))
        return json_equal(wanted, got);
    json_object_foreach (wanted, key, value) {
        if (!matches(value, json_object_get(got, key)))
            return false;
    }
    json_object_foreach (got, key, value) {
        if (!json_is_null(value) && !json_object_get(wanted, key))
            return false;
    }
    return true;
}

static void start(struct certification *certification, struct call *call)
{
    struct client *client = &certification->clients[certification->n_started++ % CLIENTS_MAX];
    uint64_t id;

    if (getrandom(&id, sizeof id, 0) != sizeof id) {
        call_io_failed(call, "getrandom", -EIO);
        return;
    }
    snprintf(client->id, sizeof client->id, "%016" PRIx64, id);
    client->next_step = 1;
    call_reply(call, json_pack("{s:s}", "client_id", client->id));
}

static struct client *find_client(struct certification *certification, const char *id)
{
    for (size_t i = 0; id && i < CLIENTS_MAX; i++)
        if (certification->clients[i].next_step > 0 &&
            strcmp(certification->clients[i].id, id) == 0)
            return &certification->clients[i];
    return NULL;
}

static void stream(struct call *call)
{
    char text[32];

    for (int i = 1; i <= STREAM_REPLIES; i++) {
        snprintf(text, sizeof text, "Reply number %d", i);
        json_t *reply = json_pack("{s:s}", "string", text);
        if (i < STREAM_REPLIES)
            call_continue(call, reply);
        else
            call_reply(call, reply);
    }
}

/* The parameters that the client must send with this step: the previous reply and its id. */
static json_t *wanted_parameters(const struct client *client, size_t step)
{
    json_t *wanted = parse(steps[step == N_STEPS - 1 ? 0 : step - 1].reply);

    json_object_set_new(wanted, "client_id", json_string(client->id));
    return wanted;
}

static void handle(struct call *call, void *context)
{
    const struct message_call *message = &call->message;
    const char *method = strrchr(message->method, '.') + 1;
    size_t step = 0;

    while (strcmp(steps[step].method, method) != 0)
        step++;
    if (step == 0) {
        start(context, call);
        return;
    }
    struct client *client =
        find_client(context, json_string_value(json_object_get(message->parameters, "client_id")));
    if (!client) {
        call_error_named(call, CERTIFICATION ".ClientIdError", NULL);
        return;
    }
    json_t *wanted = wanted_parameters(client, step);
    if (step != client->next_step || !matches(wanted, message->parameters) ||
        message->more != (step == STREAM_STEP) || message->oneway != (step == ONEWAY_STEP)) {
        call_error_named(call, CERTIFICATION ".CertificationError",
                         json_pack("{s:o, s:O}", "wants", wanted, "got", message->parameters));
        return;
    }
    json_decref(wanted);
    client->next_step = (step + 1) % N_STEPS;
    if (step == STREAM_STEP)
        stream(call);
    else
        call_reply(call, parse(steps[step].reply));
}

static void on_signal(evutil_socket_t signal, short what, void *context)
{
    (void)signal;
    (void)what;
    event_base_loopbreak(context);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, SOMAXCONN) < 0)
        return -1;
    return fd;
}

int main(int argc, char **argv)
{
    static const struct server_info info = {"Varlink", "Certification", EDGEMIND_VERSION,
                                            "https://varlink.org"};
    struct certification certification = {0};
    struct method methods[N_STEPS + 1] = {0};
    struct server *server = NULL;

    if (argc != 3 || strcmp(argv[1], "--socket") != 0) {
        fprintf(stderr, "usage: certification_server --socket PATH\n");
        return 2;
    }
    for (size_t i = 0; i < N_STEPS; i++)
        methods[i] = (struct method){steps[i].method, TIER_ANYONE, handle, false};
    const struct interface interfaces[] = {
        {CERTIFICATION, certification_text, methods, &certification}, {0}};

    struct event_config *config = event_config_new();
    event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    struct event *sigterm = evsignal_new(base, SIGTERM, on_signal, base);
    struct event *sigint = evsignal_new(base, SIGINT, on_signal, base);
    event_add(sigterm, NULL);
    event_add(sigint, NULL);

    int r = server_new(base, interfaces, &info, &server);
    if (r == 0)
        r = server_listen(server, listen_at(argv[2]));
    if (r == 0)
        event_base_dispatch(base);
    else
        fprintf(stderr, "certification_server: %s\n", strerror(-r));

    server_free(server);
    event_free(sigterm);
    event_free(sigint);
    event_base_free(base);
    libevent_global_shutdown();
    if (r == 0)
        unlink(argv[2]);
    return r < 0;
}
