/* Varlink calls and replies as JSON texts.
 *
 * A parsed message owns its JSON, and everything else in it is borrowed from the JSON. frame.c is
 * the transport, and the callers know the methods. */
#include "proto/message.h"

#include "common/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Bounds the parser's memory. A reply may have 1,000 elements with about ten members each, so this
 * is more than enough. */
enum { REPLY_VALUES_MAX = 1 << 20 };

enum { ERROR_NAME_MAX = 100 };

/* 0 and the object, or a negative errno. */
static int parse_object(const char *text, size_t n_bytes, const struct json_limits *limits,
                        json_t **ret)
{
    struct json_problem problem;
    json_t *root;

    int r = json_parse(text, n_bytes, limits, &root, &problem);
    if (r < 0)
        return r;
    if (!json_is_object(root)) {
        json_decref(root);
        return -EBADMSG;
    }
    *ret = root;
    return 0;
}

/* The value of "parameters" as an object that `root` owns. 0 or a negative errno. */
static int get_parameters(json_t *root, json_t **ret)
{
    json_t *parameters = json_object_get(root, "parameters");

    if (!parameters || json_is_null(parameters)) {
        parameters = json_object();
        if (json_object_set_new_nocheck(root, "parameters", parameters) < 0)
            return -ENOMEM;
    } else if (!json_is_object(parameters)) {
        return -EBADMSG;
    }
    *ret = parameters;
    return 0;
}

static int get_flag(json_t *value, bool *ret)
{
    if (!json_is_boolean(value))
        return -EBADMSG;
    *ret = json_is_true(value);
    return 0;
}

static int get_string(json_t *value, const char **ret)
{
    if (!json_is_string(value))
        return -EBADMSG;
    *ret = json_string_value(value);
    return 0;
}

static int fill_call(json_t *root, struct message_call *call)
{
    const char *key;
    json_t *value;
    int r = 0;

    json_object_foreach (root, key, value) {
        if (strcmp(key, "method") == 0)
            r = get_string(value, &call->method);
        else if (strcmp(key, "oneway") == 0)
            r = get_flag(value, &call->oneway);
        else if (strcmp(key, "more") == 0)
            r = get_flag(value, &call->more);
        else if (strcmp(key, "upgrade") == 0)
            r = get_flag(value, &call->upgrade);
        else if (strcmp(key, "parameters") != 0)
            r = -EBADMSG;
        if (r < 0)
            return r;
    }
    if (!call->method || call->oneway + call->more + call->upgrade > 1)
        return -EBADMSG;
    return get_parameters(root, &call->parameters);
}

static int fill_reply(json_t *root, struct message_reply *reply)
{
    const char *key;
    json_t *value;
    int r = 0;

    json_object_foreach (root, key, value) {
        if (strcmp(key, "error") == 0)
            r = get_string(value, &reply->error);
        else if (strcmp(key, "continues") == 0)
            r = get_flag(value, &reply->continues);
        else if (strcmp(key, "parameters") != 0)
            r = -EBADMSG;
        if (r < 0)
            return r;
    }
    return get_parameters(root, &reply->parameters);
}

int message_parse_call(const char *text, size_t n_bytes, struct message_call *ret)
{
    static const struct json_limits limits = {.max_bytes = MESSAGE_BYTES_MAX,
                                              .max_depth = MESSAGE_DEPTH_MAX,
                                              .max_values = MESSAGE_BYTES_MAX};
    struct message_call call = {0};

    int r = parse_object(text, n_bytes, &limits, &call.root);
    if (r < 0)
        return r;
    r = fill_call(call.root, &call);
    if (r < 0) {
        json_decref(call.root);
        return r;
    }
    *ret = call;
    return 0;
}

int message_parse_reply(const char *text, size_t n_bytes, struct message_reply *ret)
{
    static const struct json_limits limits = {.max_bytes = MESSAGE_REPLY_BYTES_MAX,
                                              .max_depth = MESSAGE_DEPTH_MAX,
                                              .max_values = REPLY_VALUES_MAX};
    struct message_reply reply = {0};

    int r = parse_object(text, n_bytes, &limits, &reply.root);
    if (r < 0)
        return r;
    r = fill_reply(reply.root, &reply);
    if (r < 0) {
        json_decref(reply.root);
        return r;
    }
    *ret = reply;
    return 0;
}

void message_call_done(struct message_call *call)
{
    json_decref(call->root);
    *call = (struct message_call){0};
}

void message_reply_done(struct message_reply *reply)
{
    json_decref(reply->root);
    *reply = (struct message_reply){0};
}

/* Takes ownership of `root`, which may be incomplete (`r` < 0). */
static int format(json_t *root, int r, char **ret_text, size_t *ret_bytes)
{
    char *text = r < 0 ? NULL : json_format(root, JSON_COMPACT);

    json_decref(root);
    if (!text)
        return -ENOMEM;
    *ret_text = text;
    *ret_bytes = strlen(text);
    return 0;
}

int message_format_call(const char *method, json_t *parameters, bool oneway, bool more,
                        char **ret_text, size_t *ret_bytes)
{
    json_t *root = json_object();
    int r = json_object_set_new_nocheck(root, "method", json_string(method));

    if (r == 0 && parameters)
        r = json_object_set_nocheck(root, "parameters", parameters);
    if (r == 0 && oneway)
        r = json_object_set_new_nocheck(root, "oneway", json_true());
    if (r == 0 && more)
        r = json_object_set_new_nocheck(root, "more", json_true());
    return format(root, r, ret_text, ret_bytes);
}

int message_format_reply(const char *error, json_t *parameters, bool continues, char **ret_text,
                         size_t *ret_bytes)
{
    json_t *root = json_object();
    int r = 0;

    if (error)
        r = json_object_set_new_nocheck(root, "error", json_string(error));
    if (r == 0)
        r = json_object_set_new_nocheck(root, "parameters",
                                        parameters ? json_incref(parameters) : json_object());
    if (r == 0 && continues)
        r = json_object_set_new_nocheck(root, "continues", json_true());
    return format(root, r, ret_text, ret_bytes);
}

int message_format_reply_fields(const char *error, const struct field *fields, const void *source,
                                bool continues, char **ret_text, size_t *ret_bytes)
{
    char before[ERROR_NAME_MAX + 32];
    int n = snprintf(before, sizeof before, "{%s%s%s\"parameters\":", error ? "\"error\":\"" : "",
                     error ? error : "", error ? "\"," : "");
    if (n < 0 || (size_t)n >= sizeof before)
        return -ENOMEM;
    return fields_format(fields, source, before, continues ? ",\"continues\":true}" : "}", ret_text,
                         ret_bytes);
}
