/* Runs the client's side of org.varlink.certification through client/library/varlink with a server
 * at the socket that argv[1] names. Exits 0 only if every step passed and the server reports
 * success.
 *
 * Each reply, with the client's id added, is the parameters of the next call. So the server notices
 * anything that the library changes (a number's type, a key, an empty object). */
#include "client/library/varlink.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define INTERFACE "org.varlink.certification."

enum { TIMEOUT_USEC = 10 * 1000 * 1000 };

static int fail(const char *method, int r)
{
    fprintf(stderr, "%s failed: %s\n", method, strerror(-r));
    return r;
}

/* Takes ownership of `parameters`. Returns the parameters of the reply, owned by the caller, or
 * NULL. */
static json_t *call(struct varlink *varlink, const char *method, json_t *parameters)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    char name[64];

    snprintf(name, sizeof name, INTERFACE "%s", method);
    int r = varlink_call(varlink, name, parameters, NULL, 0, &reply);
    json_decref(parameters);
    if (r < 0) {
        fail(method, r);
        return NULL;
    }
    if (reply.error) {
        fprintf(stderr, "%s: %s ", method, reply.error);
        json_dumpf(reply.parameters, stderr, JSON_COMPACT);
        fputc('\n', stderr);
        return NULL;
    }
    printf("%s\n", method);
    return json_incref(reply.parameters);
}

/* Test10 sends several replies. Returns the array of their strings, or NULL. Takes ownership of
 * `parameters`. */
static json_t *call_more(struct varlink *varlink, json_t *parameters)
{
    json_t *strings = json_array();
    bool last = false;
    int r = varlink_send(varlink, INTERFACE "Test10", parameters, VARLINK_MORE, NULL, 0);

    json_decref(parameters);
    while (r == 0 && !last) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        r = varlink_receive(varlink, &reply);
        if (r == 0 && reply.error)
            r = -EPROTO;
        if (r == 0)
            r = json_array_append(strings, json_object_get(reply.parameters, "string"));
        last = !reply.continues;
    }
    if (r == 0)
        return strings;
    fail("Test10", r);
    json_decref(strings);
    return NULL;
}

/* Test11 has no reply; End reports whether it arrived. Takes ownership of `strings`. */
static bool call_oneway(struct varlink *varlink, json_t *id, json_t *strings)
{
    json_t *parameters = json_pack("{s:O, s:o}", "client_id", id, "last_more_replies", strings);
    int r = varlink_send(varlink, INTERFACE "Test11", parameters, VARLINK_ONEWAY, NULL, 0);

    json_decref(parameters);
    if (r < 0)
        fail("Test11", r);
    return r == 0;
}

static json_t *with_id(json_t *parameters, json_t *id)
{
    json_object_set(parameters, "client_id", id);
    return parameters;
}

static bool certify(struct varlink *varlink)
{
    json_t *last = call(varlink, "Start", NULL);
    if (!last)
        return false;
    json_t *id = json_incref(json_object_get(last, "client_id"));
    for (int i = 1; i <= 9 && last; i++) {
        char method[16];
        snprintf(method, sizeof method, "Test%02d", i);
        last = call(varlink, method, with_id(last, id));
    }
    json_t *strings = last ? call_more(varlink, with_id(last, id)) : NULL;
    last = NULL;
    if (strings && call_oneway(varlink, id, strings))
        last = call(varlink, "End", with_id(json_object(), id));
    bool passed = json_is_true(json_object_get(last, "all_ok"));
    json_decref(last);
    json_decref(id);
    return passed;
}

int main(int argc, char **argv)
{
    _cleanup_(varlink_freep) struct varlink *varlink = NULL;

    if (argc != 2) {
        fprintf(stderr, "Usage: %s SOCKET\n", argv[0]);
        return 2;
    }
    int r = varlink_connect(argv[1], TIMEOUT_USEC, &varlink);
    if (r < 0) {
        fail("connecting", r);
        return 1;
    }
    if (!certify(varlink))
        return 1;
    printf("all passed\n");
    return 0;
}
