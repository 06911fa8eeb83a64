/* Varlink calls and replies as JSON texts. Both sides use it; neither transport nor methods are
 * known here. */
#pragma once

#include "proto/fields.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    MESSAGE_BYTES_MAX = 64 << 10, /* of a call */
    MESSAGE_DEPTH_MAX = 32,
    MESSAGE_REPLY_BYTES_MAX = 16 << 20, /* what a client accepts */
};

struct message_call {
    json_t *root;               /* owns the rest */
    const char *method;         /* "io.edgemind.manager.Stats" */
    json_t *parameters;         /* an object, never NULL */
    bool oneway, more, upgrade; /* at most one is true */
};

struct message_reply {
    json_t *root;
    json_t *parameters; /* an object, never NULL */
    const char *error;  /* wire name, or NULL */
    bool continues;
};

/* 0; -EBADMSG for whatever must close the connection: malformed JSON, a non-object, a missing or
 * non-string method, an unknown key, a flag that is not a boolean, two flags; -E2BIG; -ENOMEM. */
int message_parse_call(const char *text, size_t n_bytes, struct message_call *ret);
int message_parse_reply(const char *text, size_t n_bytes, struct message_reply *ret);

void message_call_done(struct message_call *call);
void message_reply_done(struct message_reply *reply);

/* New malloc'ed compact text and its length without NUL; `parameters` (may be NULL) is borrowed.
 * 0 or -ENOMEM. */
int message_format_call(const char *method, json_t *parameters, bool oneway, bool more,
                        char **ret_text, size_t *ret_bytes);
int message_format_reply(const char *error, json_t *parameters, bool continues, char **ret_text,
                         size_t *ret_bytes);
/* A successful reply whose parameters are encoded by table. */
int message_format_reply_fields(const struct field *fields, const void *source, bool continues,
                                char **ret_text, size_t *ret_bytes);
