/* Turns a method's answers into replies on the call's connection.
 *
 * Invariant: an open call gets exactly one final answer, and a oneway call no reply at all, not
 * even an error. Leaves to connection.c when and how replies are sent. */
#include "daemon/control/call.h"

#include "common/clock.h"
#include "common/json_memory.h"
#include "daemon/control/connection.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *call_parameters(const struct call *call)
{
    return call->message.parameters;
}

const struct peer *call_peer(const struct call *call)
{
    return &call->connection->peer;
}

const char *call_method(const struct call *call)
{
    return call->method->name;
}

uint64_t call_begun_usec(const struct call *call)
{
    return call->begun_usec;
}

bool call_more(const struct call *call)
{
    return call->message.more;
}

bool call_oneway(const struct call *call)
{
    return call->message.oneway;
}

uint64_t call_pending_bytes(const struct call *call)
{
    return frame_writer_pending_bytes(call->connection->writer);
}

bool call_may_continue(struct call *call)
{
    return connection_may_continue(call->connection);
}

const struct field call_no_parameters[] = {{0}};

bool call_decode(struct call *call, const struct field *fields, void *ret)
{
    const char *key;

    if (fields_decode(fields, call->message.parameters, ret, &key) == 0)
        return true;
    call_invalid_parameter(call, key);
    return false;
}

int call_fd(const struct call *call, uint64_t index)
{
    return index < call->frame.n_fds && call->frame.fds[index] >= 0 ? call->frame.fds[index]
                                                                    : -EBADF;
}

int call_take_fd(struct call *call, uint64_t index)
{
    int fd = call_fd(call, index);
    if (fd >= 0)
        call->frame.fds[index] = -1;
    return fd;
}

struct passed_fd_owner *call_fd_owner(const struct call *call)
{
    return call->frame.owner;
}

size_t call_n_fds(const struct call *call)
{
    return call->frame.n_fds;
}

void call_set_hooks(struct call *call, const struct call_hooks *hooks, void *context)
{
    assert(call->open);
    call->hooks = *hooks;
    call->hooks_context = context;
}

uint64_t call_attach_fd(struct call *call, int fd)
{
    call->connection->attached_fd = fd;
    return 0;
}

struct connection *call_connection(const struct call *call)
{
    return call->connection;
}

void *call_connection_data(const struct call *call)
{
    return call->connection->data;
}

void call_set_connection_data(struct call *call, void *data, void (*ended)(void *data))
{
    call->connection->data = data;
    call->connection->data_ended = ended;
}

/* A reply's parameters: JSON, or a struct and its table. */
struct parameters {
    json_t *json; /* borrowed */
    const struct field *fields;
    const void *source;
};

/* Formats the error that replaces a reply for which there is no memory. It needs no JSON value. */
static int format_no_memory(char **ret_text, size_t *ret_bytes)
{
    int n = asprintf(ret_text,
                     "{\"error\":\"%s\",\"parameters\":"
                     "{\"operation\":\"reply\",\"errnoName\":\"ENOMEM\"}}",
                     error_wire_name(ERROR_IO_FAILED));

    if (n < 0)
        return -ENOMEM;
    *ret_bytes = (size_t)n;
    return 0;
}

/* Formats the error that replaces a reply that is too long beside what already waits to be read. */
static int format_no_room(char **ret_text, size_t *ret_bytes)
{
    int n = asprintf(ret_text,
                     "{\"error\":\"%s\",\"parameters\":"
                     "{\"limit\":\"bytes of unread replies\",\"maximum\":%d}}",
                     error_wire_name(ERROR_LIMIT_EXCEEDED), CALL_PENDING_MAX);

    if (n < 0)
        return -ENOMEM;
    *ret_bytes = (size_t)n;
    return 0;
}

/* Queues a reply. If there is no memory for the reply, or no room beside what already waits to be
 * read, the call gets an error instead. The connection ends if there is no memory for the error
 * either, if the reply is an intermediate one, or if it would announce what the connection now
 * holds (a lease). */
static void send_reply(struct call *call, const char *error, const struct parameters *parameters,
                       bool continues)
{
    char *text;
    size_t n_bytes;
    int r;

    assert(call->open);
    if (parameters->fields)
        r = message_format_reply_fields(error, parameters->fields, parameters->source, continues,
                                        &text, &n_bytes);
    else
        r = message_format_reply(error, parameters->json, continues, &text, &n_bytes);
    /* If an allocation failed, the reply may lack a value. The value may be older than this
     * call. */
    if (json_memory_failures() != call->connection->host->json_failures) {
        call->connection->host->json_failures = json_memory_failures();
        if (r == 0)
            free(text);
        r = -ENOMEM;
        if (!continues && (error || !call->connection->data))
            r = format_no_memory(&text, &n_bytes);
    } else if (r == 0 && !connection_has_room(call->connection, n_bytes)) {
        free(text);
        r = -ENOBUFS;
        if (!continues && (error || !call->connection->data))
            r = format_no_room(&text, &n_bytes);
    }
    if (r < 0)
        connection_close(call->connection);
    else
        connection_send(call->connection, text, n_bytes);
}

static void end_call(struct call *call)
{
    histogram_add(&call->connection->host->call_times[call->is_deferred],
                  clock_monotonic_usec() - call->begun_usec);
    connection_end_call(call->connection);
}

static void finish(struct call *call, const char *error, const struct parameters *parameters)
{
    if (!call->message.oneway)
        send_reply(call, error, parameters, false);
    end_call(call);
}

static void proceed(struct call *call, const struct parameters *parameters)
{
    if (!call->message.more)
        return;
    send_reply(call, NULL, parameters, true);
    connection_settle(call->connection);
}

void call_reply(struct call *call, json_t *parameters)
{
    finish(call, NULL, &(struct parameters){.json = parameters});
    json_decref(parameters);
}

void call_continue(struct call *call, json_t *parameters)
{
    proceed(call, &(struct parameters){.json = parameters});
    json_decref(parameters);
}

void call_reply_fields(struct call *call, const struct field *fields, const void *source)
{
    finish(call, NULL, &(struct parameters){.fields = fields, .source = source});
}

void call_continue_fields(struct call *call, const struct field *fields, const void *source)
{
    proceed(call, &(struct parameters){.fields = fields, .source = source});
}

/* Takes the text. */
static void send_text(struct call *call, char *text, size_t n_bytes)
{
    assert(call->open);
    if (text && connection_has_room(call->connection, n_bytes)) {
        connection_send(call->connection, text, n_bytes);
    } else {
        free(text);
        connection_close(call->connection);
    }
}

void call_reply_text(struct call *call, char *text, size_t n_bytes)
{
    if (call->message.oneway)
        free(text);
    else
        send_text(call, text, n_bytes);
    end_call(call);
}

void call_continue_text(struct call *call, const char *text, size_t n_bytes)
{
    char *copy = text ? malloc(n_bytes + 1) : NULL;

    assert(call->message.more);
    if (copy)
        memcpy(copy, text, n_bytes + 1);
    send_text(call, copy, n_bytes);
    connection_settle(call->connection);
}

void call_error(struct call *call, enum error error, json_t *parameters)
{
    call_error_named(call, error_wire_name(error), parameters);
}

void call_error_named(struct call *call, const char *wire_name, json_t *parameters)
{
    call->connection->host->n_errors++;
    finish(call, wire_name, &(struct parameters){.json = parameters});
    json_decref(parameters);
}

void call_error_fields(struct call *call, enum error error, const struct field *fields,
                       const void *source)
{
    call->connection->host->n_errors++;
    finish(call, error_wire_name(error), &(struct parameters){.fields = fields, .source = source});
}

struct name_parameters {
    const char *name;
};

void call_error_name(struct call *call, enum error error, const char *key, const char *name)
{
    const struct field fields[] = {{key, FIELD_STRING, offsetof(struct name_parameters, name)},
                                   {0}};

    call_error_fields(call, error, fields, &(struct name_parameters){name});
}

void call_invalid_parameter(struct call *call, const char *parameter)
{
    call_error_name(call, ERROR_INVALID_PARAMETER, "parameter", parameter);
}

struct io_failure {
    const char *operation, *errno_name;
};

void call_io_failed(struct call *call, const char *operation, int error)
{
    static const struct field fields[] = {
        {"operation", FIELD_STRING, offsetof(struct io_failure, operation)},
        {"errnoName", FIELD_STRING, offsetof(struct io_failure, errno_name)},
        {0}};
    const char *name = strerrorname_np(-error);

    call_error_fields(call, ERROR_IO_FAILED, fields,
                      &(struct io_failure){operation, name ? name : "EIO"});
}
