/* One Varlink call in progress, as a method sees it.
 *
 * A method either answers before it returns, or keeps the call, sets hooks and answers later from
 * the loop. Exactly one final answer (call_reply, call_error) ends a call; after it, or after the
 * `cancelled` hook has run, the call must not be touched. Hooks run from the loop, never inside one
 * of the functions below. A oneway call is handled like any other, but nothing is sent, not even an
 * error. A call whose descriptors were lost on the way (the daemon had no more) never reaches its
 * method; it gets IOFailed("receive descriptors", "EMFILE"). Loop thread only. */
#pragma once

#include "common/error.h"
#include "daemon/control/method.h"
#include "proto/fields.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

json_t *call_parameters(const struct call *call); /* borrowed, an object */
const struct peer *call_peer(const struct call *call);
bool call_more(const struct call *call);   /* the client takes several replies */
bool call_oneway(const struct call *call); /* the client takes none */

/* Decodes the parameters; on failure answers InvalidParameter itself and returns false. */
bool call_decode(struct call *call, const struct field *fields, void *ret);

/* Takes descriptor `index` of the call's message (owned by the caller from then on), or -EBADF. */
int call_take_fd(struct call *call, uint64_t index);
size_t call_n_fds(const struct call *call);

void call_set_hooks(struct call *call, const struct call_hooks *hooks, void *context);

/* Takes `fd` and sends it with the call's next reply; returns its index there, which is 0. */
uint64_t call_attach_fd(struct call *call, int fd);

/* The connection that the call came by; it lives as long as the call and its connection's data. */
struct connection *call_connection(const struct call *call);

/* What a method keeps with the connection, NULL at first; `ended` is told when the connection has
 * ended, after an open call was cancelled. */
void *call_connection_data(const struct call *call);
void call_set_connection_data(struct call *call, void *data, void (*ended)(void *data));

/* Final and intermediate replies; `parameters` is taken, NULL stands for {}, and an allocation that
 * failed ends the connection. call_continue does nothing unless call_more. */
void call_reply(struct call *call, json_t *parameters);
void call_continue(struct call *call, json_t *parameters);
void call_error(struct call *call, enum error error, json_t *parameters);
/* For errors of interfaces that enum error does not know. */
void call_error_named(struct call *call, const char *wire_name, json_t *parameters);
/* An error whose one parameter is a string. */
void call_error_name(struct call *call, enum error error, const char *key, const char *name);
void call_invalid_parameter(struct call *call, const char *parameter);
/* IOFailed(operation, errnoName) from a negative errno. */
void call_io_failed(struct call *call, const char *operation, int error);

/* Encodes by table, then as above. */
void call_reply_fields(struct call *call, const struct field *fields, const void *source);
void call_continue_fields(struct call *call, const struct field *fields, const void *source);
void call_error_fields(struct call *call, enum error error, const struct field *fields,
                       const void *source);

/* Bytes queued to the peer and not yet sent: producers of many replies pause above CALL_PENDING_MAX
 * and go on in `drained`. */
uint64_t call_pending_bytes(const struct call *call);
