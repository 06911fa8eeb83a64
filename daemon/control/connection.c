/* One peer's connection: decides when to read, when to send, and when it ends.
 *
 * Invariants: one call is open at a time and replies leave in order, because nothing is read while
 * a call is open. Events are edge-triggered, so `readable` stays true until a read has found the
 * socket empty. No callback frees its connection: connection_close marks it and the host frees it.
 * Leaves to call.c what the messages mean. */
#include "daemon/control/connection.h"

#include "common/clock.h"
#include "common/json_memory.h"
#include "common/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>

/* Nobody needs time between a message's bytes if descriptors came with them: part of stall_usec. */
enum { FDS_STALL_PART = 5, FREED_MESSAGES_MAX = 16 };

static void set_state(struct connection *connection, enum connection_state state)
{
    static const unsigned legal[] = {
        [CONNECTION_READING] =
            1U << CONNECTION_CALLING | 1U << CONNECTION_DRAINING | 1U << CONNECTION_CLOSED,
        [CONNECTION_CALLING] = 1U << CONNECTION_READING | 1U << CONNECTION_CLOSED,
        [CONNECTION_DRAINING] = 1U << CONNECTION_CLOSED,
        [CONNECTION_CLOSED] = 0,
    };

    assert(legal[connection->state] & 1U << state);
    connection->state = state;
    if (state != CONNECTION_CLOSED)
        return;
    event_del(connection->read_event);
    event_del(connection->write_event);
    event_del(connection->read_stall);
    event_del(connection->write_stall);
    rounds_remove(connection->host->rounds, &connection->participant);
    connection->host->closed(connection, connection->host->context);
}

void connection_close(struct connection *connection)
{
    if (connection->state != CONNECTION_CLOSED)
        set_state(connection, CONNECTION_CLOSED);
}

/* Whether the peer has closed both directions, not only its own. */
static bool hung_up(const struct connection *connection)
{
    struct pollfd pollfd = {.fd = connection->fd};

    return poll(&pollfd, 1, 0) > 0 && (pollfd.revents & (POLLHUP | POLLERR));
}

static uint64_t pending_bytes(const struct connection *connection)
{
    return frame_writer_pending_bytes(connection->writer);
}

/* Whether the connection wants a turn. Whether it gets one is the rounds' affair. */
static bool wants_read(const struct connection *connection)
{
    return connection->state == CONNECTION_READING && connection->readable &&
           frame_writer_allocated_bytes(connection->writer) <= CALL_PENDING_MAX;
}

static bool may_read(const struct connection *connection)
{
    return wants_read(connection) &&
           rounds_admits(connection->host->rounds, &connection->participant);
}

/* Tells the rounds what waits for the peer: the replies, and the parameters of the open call. */
static void count_held(struct connection *connection)
{
    rounds_hold(connection->host->rounds, &connection->participant,
                frame_writer_allocated_bytes(connection->writer) + connection->call_bytes,
                pending_bytes(connection));
}

/* Tells the rounds how many descriptors of the peer are here: of a message that is not whole yet,
 * and those of the open call, which its method may have taken. */
static void count_fds(struct connection *connection)
{
    rounds_hold_fds(&connection->participant,
                    frame_reader_n_fds(connection->reader) + connection->call.frame.n_fds);
}

static bool is_armed(const struct event *event)
{
    return event_pending(event, EV_WRITE | EV_TIMEOUT, NULL);
}

static void arm(struct connection *connection, struct event *event, uint64_t usec)
{
    struct timeval timeout = clock_timeval(usec);

    if (event_add(event, event == connection->write_event ? NULL : &timeout) < 0)
        connection_close(connection);
}

/* Sends as much as the socket accepts, and watches the socket for the rest. */
static void flush(struct connection *connection)
{
    uint64_t before_bytes = pending_bytes(connection);
    bool was_blocked = is_armed(connection->write_event);

    int r = frame_flush(connection->writer, connection->fd);
    count_held(connection);
    if (r < 0 && r != -EAGAIN) {
        connection_close(connection);
        return;
    }
    if (pending_bytes(connection) == 0) {
        connection->drain_due = connection->call.open && connection->call.hooks.drained;
        if (was_blocked) {
            event_del(connection->write_event);
            event_del(connection->write_stall);
        }
        return;
    }
    if (!was_blocked)
        arm(connection, connection->write_event, 0);
    uint64_t n_taken = before_bytes - pending_bytes(connection);
    connection->due_bytes -= n_taken < connection->due_bytes ? n_taken : connection->due_bytes;
    if (!was_blocked || connection->due_bytes == 0) {
        connection->due_bytes = pending_bytes(connection);
        arm(connection, connection->write_stall, connection->host->stall_usec);
    }
}

/* The read_stall timer runs while part of a message is here, and only the peer delays the rest. */
static void set_read_clock(struct connection *connection)
{
    bool wanted = frame_reader_partial(connection->reader) &&
                  connection->state == CONNECTION_READING &&
                  frame_writer_allocated_bytes(connection->writer) <= CALL_PENDING_MAX;
    bool has_fds = frame_reader_n_fds(connection->reader) > 0;
    uint64_t stall_usec = connection->host->stall_usec;

    if (!wanted)
        event_del(connection->read_stall);
    else if (!is_armed(connection->read_stall) || (has_fds && !connection->is_hurried))
        arm(connection, connection->read_stall, has_fds ? stall_usec / FDS_STALL_PART : stall_usec);
    connection->is_hurried = wanted && has_fds;
}

void connection_settle(struct connection *connection)
{
    if (connection->in_turn || connection->state == CONNECTION_CLOSED)
        return;
    if (pending_bytes(connection) > 0 && !is_armed(connection->write_event))
        flush(connection);
    if (connection->state == CONNECTION_DRAINING && pending_bytes(connection) == 0)
        connection_close(connection);
    if (connection->state == CONNECTION_CLOSED)
        return;
    set_read_clock(connection);
    if (connection->drain_due || wants_read(connection))
        rounds_add(connection->host->rounds, &connection->participant);
}

void connection_send(struct connection *connection, char *text, size_t n_bytes)
{
    _cleanup_(closep) int fd = TAKE_FD(connection->attached_fd);

    if (connection->state == CONNECTION_CLOSED) {
        free(text);
        return;
    }
    int sent = TAKE_FD(fd);
    if (frame_write_taking(connection->writer, text, n_bytes, &sent, sent >= 0) < 0)
        connection_close(connection);
    count_held(connection);
}

bool connection_has_room(const struct connection *connection, size_t n_bytes)
{
    return rounds_has_room(connection->host->rounds, &connection->participant, n_bytes);
}

bool connection_may_continue(struct connection *connection)
{
    if (frame_writer_allocated_bytes(connection->writer) <= CALL_PENDING_MAX &&
        rounds_admits(connection->host->rounds, &connection->participant) &&
        !(connection->in_turn && rounds_time_is_up(connection->host->rounds)))
        return true;
    /* What waits to be sent brings the hook about by itself. */
    if (pending_bytes(connection) == 0 && connection->call.hooks.drained) {
        connection->drain_due = true;
        connection_settle(connection);
    }
    return false;
}

static void release_call(struct connection *connection)
{
    struct call *call = &connection->call;

    call->open = false;
    call->hooks = (struct call_hooks){0};
    closep(&connection->attached_fd); /* the call ended without a reply that sent it */
    connection->attached_fd = -1;
    message_call_done(&call->message);
    frame_done(&call->frame);
    connection->call_bytes = 0;
    count_held(connection);
    count_fds(connection);
    connection->drain_due = false;
}

void connection_end_call(struct connection *connection)
{
    release_call(connection);
    if (connection->state == CONNECTION_CALLING)
        set_state(connection, CONNECTION_READING);
    connection_settle(connection);
}

/* Reads and handles at most one message. */
static void read_message(struct connection *connection)
{
    struct call *call = &connection->call;

    frame_reader_limit_fds(connection->reader,
                           frame_reader_n_fds(connection->reader) +
                               rounds_fds_room(connection->host->rounds, &connection->participant));
    int r = frame_read(connection->reader, connection->fd, &call->frame);
    count_fds(connection);
    if (r == -EAGAIN) {
        connection->readable = false;
        return;
    }
    if (r <= 0 && r != -EBADMSG) {
        set_state(connection, CONNECTION_DRAINING);
        return;
    }
    event_del(connection->read_stall);

    bool fds_lost = r == -EBADMSG;
    uint64_t before_bytes = json_memory_held_bytes();
    r = message_parse_call(call->frame.text, call->frame.n_bytes, &call->message);
    free(TAKE_PTR(call->frame.text));
    connection->call_bytes = json_memory_held_bytes() - before_bytes;
    count_held(connection);
    if (r < 0) {
        release_call(connection);
        set_state(connection, CONNECTION_DRAINING);
        return;
    }
    /* A oneway call gets no reply, which could show that the peer is gone. So the socket is read
     * again. */
    connection->readable =
        frame_reader_more(connection->reader) || connection->ended || call->message.oneway;
    connection->host->n_requests++;
    connection->host->json_failures = json_memory_failures();
    call->open = true;
    set_state(connection, CONNECTION_CALLING);
    connection->host->dispatch(call, connection->host, fds_lost);
    /* The event that reported a hang-up may have come already. */
    if (connection->state == CONNECTION_CALLING && hung_up(connection))
        connection_close(connection);
}

void connection_serve(struct participant *participant)
{
    struct connection *connection = connection_of(participant);
    const struct rounds *rounds = connection->host->rounds;

    connection->in_turn = true;
    if (connection->writable) {
        connection->writable = false;
        flush(connection);
    }
    if (connection->drain_due && connection->state != CONNECTION_CLOSED &&
        rounds_admits(rounds, participant)) {
        connection->drain_due = false;
        connection->call.hooks.drained(connection->call.hooks_context);
    }
    for (unsigned i = 0; i < CONNECTION_TURN_MESSAGES && may_read(connection); i++) {
        read_message(connection);
        if (rounds_time_is_up(rounds))
            break;
    }
    connection->in_turn = false;
    connection_settle(connection);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct connection *connection = context;
    (void)fd;

    connection->readable = true;
    connection->ended = connection->ended || (what & EV_CLOSED);
    if (!may_read(connection) && hung_up(connection))
        connection_close(connection);
    else if (wants_read(connection))
        rounds_add(connection->host->rounds, &connection->participant);
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct connection *connection = context;
    (void)fd;
    (void)what;

    connection->writable = true;
    rounds_add_sender(connection->host->rounds, &connection->participant);
}

static void on_read_stall(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    connection_close(context);
}

static void on_write_stall(evutil_socket_t fd, short what, void *context)
{
    struct connection *connection = context;
    (void)fd;
    (void)what;

    log_notice("hung up on process %d of user %u: it left %" PRIu64
               " bytes of replies unread for too long",
               (int)connection->peer.pid, (unsigned)connection->peer.uid,
               pending_bytes(connection));
    connection_close(connection);
}

static void destroy(struct connection *connection)
{
    struct event *const events[] = {connection->read_event, connection->write_event,
                                    connection->read_stall, connection->write_stall};

    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i])
            event_free(events[i]);
    frame_reader_free(connection->reader);
    frame_writer_free(connection->writer);
    rounds_leave(connection->host->rounds, &connection->participant);
    close(connection->fd);
    free(connection);
}

int connection_new(struct connection_host *host, int fd, const struct peer *peer,
                   struct connection **ret)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) {
        close(fd);
        return -ENOMEM;
    }
    connection->host = host;
    connection->fd = fd;
    connection->attached_fd = -1;
    connection->peer = *peer;
    connection->call.connection = connection;
    connection->reader = frame_reader_new(MESSAGE_BYTES_MAX);
    connection->writer = frame_writer_new();
    connection->read_event = event_new(host->base, fd, EV_READ | EV_CLOSED | EV_ET | EV_PERSIST,
                                       on_readable, connection);
    connection->write_event =
        event_new(host->base, fd, EV_WRITE | EV_ET | EV_PERSIST, on_writable, connection);
    connection->read_stall = event_new(host->base, -1, 0, on_read_stall, connection);
    connection->write_stall = event_new(host->base, -1, 0, on_write_stall, connection);
    if (rounds_join(host->rounds, &connection->participant, peer->uid) < 0 || !connection->reader ||
        !connection->writer || !connection->read_event || !connection->write_event ||
        !connection->read_stall || !connection->write_stall ||
        event_add(connection->read_event, NULL) < 0) {
        destroy(connection);
        return -ENOMEM;
    }
    frame_reader_read_ahead(connection->reader);
    frame_reader_set_owner(connection->reader, rounds_fd_owner(&connection->participant));
    *ret = connection;
    return 0;
}

void connection_end(struct connection *connection)
{
    assert(connection->state == CONNECTION_CLOSED);
    if (connection->call.open && connection->call.hooks.cancelled)
        connection->call.hooks.cancelled(connection->call.hooks_context);
    if (connection->data_ended)
        connection->data_ended(connection->data);
    release_call(connection);
}

bool connection_free(struct connection *connection)
{
    bool has_more = frame_writer_discard(connection->writer, FREED_MESSAGES_MAX);
    count_held(connection);
    if (!has_more)
        destroy(connection);
    return !has_more;
}
