/* Owns a connected socket, its reader and its writer, and counts the calls that wait for a reply.
 *
 * Invariant: once `error` is set, the connection is broken, and every later call returns this
 * error. A child of the process that made the connection neither sends nor receives on it.
 * proto/frame does the framing, and proto/message the JSON of messages. */
#include "client/library/varlink.h"

#include "client/library/fork_guard.h"
#include "common/clock.h"
#include "proto/message.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { USEC_PER_SEC = 1000000 };

struct varlink {
    struct guarded_socket socket;
    int interrupt_fd;
    struct frame_reader *reader;
    struct frame_writer *writer;
    uint64_t timeout_usec;
    uint64_t n_waiting; /* calls that still wait for a reply */
    bool streaming;     /* the last of these calls may get several replies */
    int send_error;     /* sending has failed; replies may still arrive */
    int error;
};

/* The time at which to give up, or VARLINK_FOREVER. */
static uint64_t deadline_usec(const struct varlink *varlink)
{
    uint64_t deadline;

    if (__builtin_add_overflow(clock_monotonic_usec(), varlink->timeout_usec, &deadline))
        return VARLINK_FOREVER;
    return deadline;
}

int varlink_adopt(int fd, struct varlink **ret)
{
    _cleanup_(closep) int owned = fd;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;

    struct varlink *varlink = calloc(1, sizeof *varlink);
    if (!varlink)
        return -ENOMEM;
    guarded_socket_init(&varlink->socket, -1);
    varlink->interrupt_fd = -1;
    varlink->timeout_usec = VARLINK_FOREVER;
    varlink->reader = frame_reader_new(MESSAGE_REPLY_BYTES_MAX);
    varlink->writer = frame_writer_new();
    if (!varlink->reader || !varlink->writer) {
        varlink_free(varlink);
        return -ENOMEM;
    }
    guarded_socket_done(&varlink->socket);
    guarded_socket_init(&varlink->socket, TAKE_FD(owned));
    *ret = varlink;
    return 0;
}

int varlink_connect(const char *path, uint64_t timeout_usec, struct varlink **ret)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n_bytes = strlen(path);
    struct varlink *varlink;
    int r;

    if (n_bytes == 0)
        return -ENOENT;
    if (n_bytes >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, n_bytes + 1);

    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* If the backlog is full, a blocking connect waits, but a non-blocking one fails at once. */
    if (timeout_usec != VARLINK_FOREVER) {
        struct timeval timeout = clock_timeval(timeout_usec);
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) < 0)
            return -errno;
    }
    while (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        if (errno != EINTR)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;

    r = varlink_adopt(TAKE_FD(fd), &varlink);
    if (r < 0)
        return r;
    varlink->timeout_usec = timeout_usec;
    *ret = varlink;
    return 0;
}

struct varlink *varlink_free(struct varlink *varlink)
{
    if (!varlink)
        return NULL;
    guarded_socket_done(&varlink->socket);
    frame_reader_free(varlink->reader);
    frame_writer_free(varlink->writer);
    free(varlink);
    return NULL;
}

void varlink_set_timeout(struct varlink *varlink, uint64_t timeout_usec)
{
    varlink->timeout_usec = timeout_usec;
}

void varlink_set_interrupt(struct varlink *varlink, int fd)
{
    varlink->interrupt_fd = fd;
}

int varlink_fd(const struct varlink *varlink)
{
    return varlink->socket.fd;
}

bool varlink_is_parents(const struct varlink *varlink)
{
    return guarded_socket_is_parents(&varlink->socket);
}

/* The errno because of which the connection cannot be used; 0 if it can. */
static int check(const struct varlink *varlink)
{
    return varlink_is_parents(varlink) ? -ECHILD : varlink->error;
}

/* Sends as much as the socket accepts. Keeps a failure but does not return it: the server may have
 * answered before it hung up, and that answer says more. */
static void send_some(struct varlink *varlink)
{
    if (varlink->send_error != 0)
        return;
    int r = frame_flush(varlink->writer, varlink->socket.fd);
    if (r < 0 && r != -EAGAIN)
        varlink->send_error = r;
}

static bool unsent(const struct varlink *varlink)
{
    return varlink->send_error == 0 && frame_writer_pending_bytes(varlink->writer) > 0;
}

/* Waits until the socket is ready for `events`. 0, -ETIMEDOUT, -EINTR or another negative errno. */
static int wait_ready(struct varlink *varlink, short events, uint64_t deadline)
{
    struct pollfd fds[] = {{.fd = varlink->socket.fd, .events = events},
                           {.fd = varlink->interrupt_fd, .events = POLLIN}};

    for (;;) {
        struct timespec left, *timeout = NULL;
        if (deadline != VARLINK_FOREVER) {
            uint64_t now = clock_monotonic_usec();
            uint64_t left_usec = deadline > now ? deadline - now : 0;
            left = (struct timespec){.tv_sec = (time_t)(left_usec / USEC_PER_SEC),
                                     .tv_nsec = (long)(left_usec % USEC_PER_SEC) * 1000};
            timeout = &left;
        }
        int n = ppoll(fds, 2, timeout, NULL);
        if (n == 0)
            return -ETIMEDOUT;
        if (n > 0)
            return fds[1].revents ? -EINTR : 0;
        /* The wait continues after a signal that has a handler; only the interrupt descriptor ends
         * it. */
        if (errno != EINTR)
            return -errno;
    }
}

int varlink_send(struct varlink *varlink, const char *method, json_t *parameters, unsigned flags,
                 const int *fds, size_t n_fds)
{
    char *text;
    size_t n_bytes;
    int r;

    if (check(varlink) != 0)
        return check(varlink);
    if (varlink->streaming)
        return -EBUSY;
    r = message_format_call(method, parameters, flags & VARLINK_ONEWAY, flags & VARLINK_MORE, &text,
                            &n_bytes);
    if (r < 0)
        return r;
    if (n_bytes > MESSAGE_BYTES_MAX) {
        free(text);
        return -EMSGSIZE;
    }
    r = frame_write(varlink->writer, text, n_bytes, fds, n_fds);
    if (r < 0)
        return r;
    if (!(flags & VARLINK_ONEWAY))
        varlink->n_waiting++;
    varlink->streaming = flags & VARLINK_MORE;
    send_some(varlink);
    return 0;
}

int varlink_flush(struct varlink *varlink)
{
    uint64_t deadline = deadline_usec(varlink);

    for (;;) {
        if (check(varlink) != 0)
            return check(varlink);
        send_some(varlink);
        if (varlink->send_error != 0)
            return varlink->send_error;
        if (!unsent(varlink))
            return 0;
        int r = wait_ready(varlink, POLLOUT, deadline);
        if (r < 0)
            return r;
    }
}

/* Parses a reply, and counts it for the first waiting call. 0, -EBADMSG or -ENOMEM. */
static int accept_reply(struct varlink *varlink, struct varlink_reply *reply)
{
    struct message_reply message;
    int r = message_parse_reply(reply->frame.text, reply->frame.n_bytes, &message);

    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    free(TAKE_PTR(reply->frame.text));
    reply->root = message.root;
    reply->parameters = message.parameters;
    reply->error = message.error;
    reply->continues = message.continues && !message.error;
    if (reply->continues)
        return varlink->streaming && varlink->n_waiting == 1 ? 0 : -EBADMSG;
    if (--varlink->n_waiting == 0)
        varlink->streaming = false;
    return 0;
}

int varlink_receive(struct varlink *varlink, struct varlink_reply *ret)
{
    uint64_t deadline = deadline_usec(varlink);

    if (check(varlink) != 0)
        return check(varlink);
    if (varlink->n_waiting == 0)
        return -ENODATA;
    for (;;) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        int r = wait_ready(varlink, (short)(POLLIN | (unsent(varlink) ? POLLOUT : 0)), deadline);
        if (r == -ETIMEDOUT || r == -EINTR)
            return r;
        if (r == 0) {
            if (unsent(varlink))
                send_some(varlink);
            r = frame_read(varlink->reader, varlink->socket.fd, &reply.frame);
            if (r == -EAGAIN)
                continue;
            if (r == 0)
                r = -ECONNRESET;
        }
        if (r > 0)
            r = accept_reply(varlink, &reply);
        if (r < 0)
            return varlink->error = r;
        *ret = reply;
        reply = (struct varlink_reply){0};
        return 0;
    }
}

int varlink_call(struct varlink *varlink, const char *method, json_t *parameters, const int *fds,
                 size_t n_fds, struct varlink_reply *ret)
{
    if (check(varlink) == 0 && varlink->n_waiting > 0)
        return -EBUSY;
    int r = varlink_send(varlink, method, parameters, 0, fds, n_fds);
    return r < 0 ? r : varlink_receive(varlink, ret);
}

int varlink_reply_take_fd(struct varlink_reply *reply, uint64_t index)
{
    if (index >= reply->frame.n_fds || reply->frame.fds[index] < 0)
        return -EBADF;
    return TAKE_FD(reply->frame.fds[index]);
}

void varlink_reply_done(struct varlink_reply *reply)
{
    json_decref(reply->root);
    frame_done(&reply->frame);
    *reply = (struct varlink_reply){0};
}
