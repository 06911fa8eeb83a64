/* The interface test.peer, whose methods are for tests of the server. */
#pragma once

#include "common/clock.h"
#include "daemon/control/call.h"

#include <check.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEPT_MAX = 8 };

/* The context of test.peer's methods. */
struct record {
    struct call *kept[KEPT_MAX]; /* NULL once answered or cancelled */
    unsigned n_kept, n_cancelled, n_drained, n_handled, n_ended;
    uint64_t most_pending_bytes;
    struct call *answer_when_cancelled;
    int watched_fd;
};

static const char test_description[] = "interface test.peer\nmethod Echo() -> ()\n";

static inline void handle_echo(struct call *call, void *context)
{
    ((struct record *)context)->n_handled++;
    call_reply(call, json_incref(call_parameters(call)));
}

static inline void hold_ended(void *data)
{
    ((struct record *)data)->n_ended++;
}

/* The record counts the end of the connection. */
static inline void handle_hold(struct call *call, void *context)
{
    call_set_connection_data(call, context, hold_ended);
    call_reply(call, NULL);
}

static inline void handle_ended(struct call *call, void *context)
{
    call_reply(call, json_pack("{s:i}", "x", (int)((struct record *)context)->n_ended));
}

/* Whether the watched descriptor has input. */
static inline void handle_watched(struct call *call, void *context)
{
    struct pollfd fd = {.fd = ((struct record *)context)->watched_fd, .events = POLLIN};

    call_reply(call, json_pack("{s:i}", "x", poll(&fd, 1, 0)));
}

/* Takes a millisecond of the loop, by the clock. */
static inline void handle_work(struct call *call, void *context)
{
    uint64_t end_usec = clock_monotonic_usec() + 1000;

    while (clock_monotonic_usec() < end_usec)
        ;
    handle_echo(call, context);
}

static inline void kept_cancelled(void *context)
{
    struct record *record = context;

    record->n_cancelled++;
    if (record->answer_when_cancelled)
        call_reply(TAKE_PTR(record->answer_when_cancelled), NULL);
}

static inline void kept_drained(void *context)
{
    ((struct record *)context)->n_drained++;
}

static inline void handle_keep(struct call *call, void *context)
{
    static const struct call_hooks hooks = {kept_cancelled, kept_drained};
    struct record *record = context;

    record->n_handled++;
    record->kept[record->n_kept++] = call;
    call_set_hooks(call, &hooks, record);
}

/* Replies with a string of `bytes` bytes. */
static inline void handle_big(struct call *call, void *context)
{
    json_int_t n = json_integer_value(json_object_get(call_parameters(call), "bytes"));
    char *text = malloc((size_t)n + 1);

    ((struct record *)context)->n_handled++;
    memset(text, 'b', (size_t)n);
    text[n] = '\0';
    call_reply(call, json_pack("{s:s}", "text", text));
    free(text);
}

struct streaming {
    struct record *record;
    struct call *call;
    json_int_t next, count, bytes;
};

static inline void stream_on(void *context)
{
    struct streaming *streaming = context;
    char *text = malloc((size_t)streaming->bytes + 1);

    memset(text, 's', (size_t)streaming->bytes);
    text[streaming->bytes] = '\0';
    while (streaming->next < streaming->count) {
        call_continue(streaming->call, json_pack("{s:I, s:s}", "i", streaming->next, "text", text));
        streaming->next++;
        uint64_t pending_bytes = call_pending_bytes(streaming->call);
        if (pending_bytes > streaming->record->most_pending_bytes)
            streaming->record->most_pending_bytes = pending_bytes;
        if (!call_may_continue(streaming->call))
            break;
    }
    free(text);
    if (streaming->next == streaming->count) {
        call_reply(streaming->call, json_pack("{s:I}", "i", streaming->next));
        free(streaming);
    }
}

static inline void stream_drained(void *context)
{
    ((struct streaming *)context)->record->n_drained++;
    stream_on(context);
}

static inline void stream_cancelled(void *context)
{
    ((struct streaming *)context)->record->n_cancelled++;
    free(context);
}

/* `count` replies of `bytes` bytes and one more, as fast as the peer reads them. */
static inline void handle_stream(struct call *call, void *context)
{
    static const struct call_hooks hooks = {stream_cancelled, stream_drained};
    json_t *parameters = call_parameters(call);
    struct streaming *streaming = malloc(sizeof *streaming);

    *streaming = (struct streaming){context, call, 0,
                                    json_integer_value(json_object_get(parameters, "count")),
                                    json_integer_value(json_object_get(parameters, "bytes"))};
    call_set_hooks(call, &hooks, streaming);
    stream_on(streaming);
}

static inline void handle_decode(struct call *call, void *context)
{
    static const struct field fields[] = {{"number", FIELD_U64, 0, FIELD_REQUIRED}, {0}};
    uint64_t number;
    (void)context;

    if (call_decode(call, fields, &number))
        call_reply_fields(call, fields, &number);
}

/* Replies with the size of file `index` and the number of descriptors. */
static inline void handle_take(struct call *call, void *context)
{
    struct stat status;
    int fd = call_take_fd(
        call, (uint64_t)json_integer_value(json_object_get(call_parameters(call), "index")));
    (void)context;

    if (fd < 0) {
        call_io_failed(call, "take", fd);
        return;
    }
    ck_assert_int_eq(fstat(fd, &status), 0);
    close(fd);
    call_reply(call, json_pack("{s:I, s:I}", "size", (json_int_t)status.st_size, "fds",
                               (json_int_t)call_n_fds(call)));
}

static inline void handle_twice(struct call *call, void *context)
{
    (void)context;
    call_continue(call, json_pack("{s:i}", "i", 1));
    call_reply(call, json_pack("{s:i}", "i", 2));
}

static inline void handle_busy(struct call *call, void *context)
{
    ((struct record *)context)->n_handled++;
    call_error(call, ERROR_BUSY, json_pack("{s:i}", "leasesTotal", 0));
}

static const struct method test_methods[] = {
    {"Echo", TIER_ANYONE, handle_echo, false},
    {"Work", TIER_ANYONE, handle_work, false},
    {"Hold", TIER_ANYONE, handle_hold, false},
    {"Ended", TIER_ANYONE, handle_ended, false},
    {"Keep", TIER_ANYONE, handle_keep, false},
    {"Big", TIER_ANYONE, handle_big, false},
    {"Stream", TIER_ANYONE, handle_stream, false},
    {"Decode", TIER_ANYONE, handle_decode, false},
    {"Take", TIER_ANYONE, handle_take, true},
    {"Twice", TIER_ANYONE, handle_twice, false},
    {"Busy", TIER_ANYONE, handle_busy, false},
    {"Member", TIER_MEMBER, handle_decode, false},
    {"Admin", TIER_ADMIN, handle_decode, false},
    {"Watched", TIER_ANYONE, handle_watched, false},
    {0},
};
