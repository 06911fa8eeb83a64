/* One Varlink call in progress, as a method sees it.
 *
 * A method either answers before it returns, or keeps the call, sets hooks and answers later from
 * the loop. Exactly one final answer (call_reply, call_error) ends a call; after it, or after the
 * `cancelled` hook has run, the call must not be touched. Hooks run from the loop, never inside one
 * of the functions below. A oneway call is handled like any other, but the client gets no reply,
 * not even an error. If the daemon had no free descriptors to receive those of a call, the call
 * never reaches its method; it gets IOFailed("receive descriptors", "EMFILE"). Loop thread only. */
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
const char *call_method(const struct call *call);  /* its name, as "Stats"; static */
uint64_t call_begun_usec(const struct call *call); /* when it was received; monotonic */
bool call_more(const struct call *call);           /* the client accepts several replies */
bool call_oneway(const struct call *call);         /* the client accepts no reply */

/* Decodes the parameters. On failure answers the call with InvalidParameter and returns false. */
bool call_decode(struct call *call, const struct field *fields, void *ret);
extern const struct field call_no_parameters[]; /* for a method without parameters */

/* Returns descriptor `index` of the call's message, or -EBADF. It is the call's; or, with _take_,
 * the caller's. */
int call_fd(const struct call *call, uint64_t index);
int call_take_fd(struct call *call, uint64_t index);
size_t call_n_fds(const struct call *call);
/* For whom they are to be closed. Lives as long as the call. */
struct passed_fd_owner *call_fd_owner(const struct call *call);

void call_set_hooks(struct call *call, const struct call_hooks *hooks, void *context);

/* Takes `fd` and sends it with the call's next reply. Returns its index in that reply, which is
 * 0. */
uint64_t call_attach_fd(struct call *call, int fd);

/* The connection that the call came on. It lives as long as the call and the connection's data. */
struct connection *call_connection(const struct call *call);

/* Data that a method keeps with the connection; NULL at first. `ended` is called when the
 * connection has ended, after an open call was cancelled. */
void *call_connection_data(const struct call *call);
void call_set_connection_data(struct call *call, void *data, void (*ended)(void *data));

/* Final and intermediate replies. They take `parameters`; NULL stands for {}. If the reply cannot
 * be allocated, the call gets an error, or the connection ends. call_continue does nothing unless
 * call_more. */
void call_reply(struct call *call, json_t *parameters);
void call_continue(struct call *call, json_t *parameters);
void call_error(struct call *call, enum error error, json_t *parameters);
/* For errors that enum error does not have. */
void call_error_named(struct call *call, const char *wire_name, json_t *parameters);
/* Sends an error whose only parameter is a string. */
void call_error_name(struct call *call, enum error error, const char *key, const char *name);
void call_invalid_parameter(struct call *call, const char *parameter);
/* Sends IOFailed(operation, errnoName); `error` is a negative errno. */
void call_io_failed(struct call *call, const char *operation, int error);

/* The same as above, but with parameters that are encoded from `source` by the table. */
void call_reply_fields(struct call *call, const struct field *fields, const void *source);
void call_continue_fields(struct call *call, const struct field *fields, const void *source);
/* Sends a final reply that another thread has formatted, and takes its text; or a copy of an
 * intermediate reply that was formatted for several calls. NULL: there was no memory for it, so the
 * connection ends. */
void call_reply_text(struct call *call, char *text, size_t n_bytes);
void call_continue_text(struct call *call, const char *text, size_t n_bytes);
void call_error_fields(struct call *call, enum error error, const struct field *fields,
                       const void *source);

/* Bytes that are queued to the peer and not yet sent. */
uint64_t call_pending_bytes(const struct call *call);

/* Whether a method with many replies may make one more now. If not, its `drained` hook runs when it
 * may: the peer has then read what was queued, its user holds no more than a fair share of memory,
 * and others have had their turns. The hook makes at least one reply. */
bool call_may_continue(struct call *call);
