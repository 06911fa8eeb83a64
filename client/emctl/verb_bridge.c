/* bridge: the other end of `emctl --host`. Copies standard input to the daemon's socket and what
 * comes from there to standard output, until both ends are closed. Descriptors do not pass. */
#include "client/emctl/error_message.h"
#include "client/emctl/verb.h"
#include "common/error.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 64 * 1024 };

/* One direction. */
struct flow {
    int from, to;
    size_t n_bytes, n_sent; /* in the buffer, and how many of them are written */
    bool ended;             /* there is nothing more to read */
    char buffer[BUFFER_BYTES];
};

static bool is_empty(const struct flow *flow)
{
    return flow->n_sent == flow->n_bytes;
}

/* Reads or writes once, as poll allowed. False if the other side of `to` has gone. */
static bool move(struct flow *flow)
{
    if (is_empty(flow)) {
        ssize_t n = read(flow->from, flow->buffer, sizeof flow->buffer);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            return true;
        flow->ended = n <= 0;
        flow->n_bytes = n > 0 ? (size_t)n : 0;
        flow->n_sent = 0;
        return true;
    }
    ssize_t n = write(flow->to, flow->buffer + flow->n_sent, flow->n_bytes - flow->n_sent);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    flow->n_sent += (size_t)n;
    return true;
}

static struct pollfd wanted(const struct flow *flow)
{
    if (!is_empty(flow))
        return (struct pollfd){.fd = flow->to, .events = POLLOUT};
    return (struct pollfd){.fd = flow->ended ? -1 : flow->from, .events = POLLIN};
}

static int copy(struct flow *in, struct flow *out)
{
    bool told = false;

    while (!out->ended || !is_empty(out)) {
        struct pollfd fds[] = {wanted(in), wanted(out)};
        if (in->ended && is_empty(in) && !told) {
            shutdown(in->to, SHUT_WR);
            told = true;
        }
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return -errno;
        if ((fds[0].revents && !move(in)) || (fds[1].revents && !move(out)))
            break;
    }
    return 0;
}

int verb_bridge(struct session *session)
{
    int r = session_connect(session);

    if (r != EXIT_DONE)
        return r;
    struct flow *flows = calloc(2, sizeof *flows);
    if (!flows)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    flows[0].from = STDIN_FILENO;
    flows[0].to = flows[1].from = varlink_fd(session->varlink);
    flows[1].to = STDOUT_FILENO;
    /* A write may not wait, because the other direction would wait with it. */
    fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
    r = copy(&flows[0], &flows[1]);
    free(flows);
    return r < 0 ? error_message_print(EXIT_OTHER, "%s.", strerror(-r)) : EXIT_DONE;
}
