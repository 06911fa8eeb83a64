/* Varlink calls and replies as JSON texts, for both sides. This file knows neither the transport
 * nor the methods. */
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

/* 0; -EBADMSG if the connection must be closed: for malformed JSON, a non-object, a missing or
 * non-string method, an unknown key, a flag that is not a boolean, or two flags; -E2BIG; -ENOMEM.
 */
int message_parse_call(const char *text, size_t n_bytes, struct message_call *ret);
int message_parse_reply(const char *text, size_t n_bytes, struct message_reply *ret);

void message_call_done(struct message_call *call);
void message_reply_done(struct message_reply *reply);

/* Makes a malloc'ed compact text; the length is without NUL. `parameters` (may be NULL) is
 * borrowed. 0 or -ENOMEM. */
int message_format_call(const char *method, json_t *parameters, bool oneway, bool more,
                        char **ret_text, size_t *ret_bytes);
int message_format_reply(const char *error, json_t *parameters, bool continues, char **ret_text,
                         size_t *ret_bytes);
/* The same, with parameters that are encoded by table. */
int message_format_reply_fields(const char *error, const struct field *fields, const void *source,
                                bool continues, char **ret_text, size_t *ret_bytes);
