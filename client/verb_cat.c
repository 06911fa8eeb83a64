/* cat: a layer's weights, or one tensor's, as they lie in the arena. The lease holds them there as
 * long as they are written. */
#include "client/leased_layer.h"
#include "client/verb.h"
#include "common/error.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum { CHUNK_BYTES = 1 << 20 };

static int write_all(const char *buffer, size_t n_bytes)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    while (n_bytes > 0) {
        ssize_t n = write(out.fd, buffer, n_bytes);
        if (n < 0 && errno == EAGAIN)
            poll(&out, 1, -1);
        else if (n < 0 && errno != EINTR)
            return -errno;
        else if (n > 0) {
            buffer += n;
            n_bytes -= (size_t)n;
        }
    }
    return 0;
}

static int write_range(const struct leased_layer *layer, struct byte_range range, char *buffer)
{
    for (size_t n; range.n_bytes > 0; range.offset_bytes += n, range.n_bytes -= n) {
        n = range.n_bytes < CHUNK_BYTES ? (size_t)range.n_bytes : CHUNK_BYTES;
        int r = leased_layer_read(layer, range.offset_bytes, buffer, n);
        if (r < 0)
            return session_fail(EXIT_OTHER, "cannot read the arena: %s.",
                                r == -ENODATA ? "its daemon has gone" : strerror(-r));
        r = write_all(buffer, n);
        if (r == -EPIPE)
            return EXIT_OTHER; /* the reader has had enough, and knows it */
        if (r < 0)
            return session_fail(EXIT_OTHER, "cannot write to standard output: %s.", strerror(-r));
    }
    return EXIT_DONE;
}

static int write_weights(struct session *session, struct varlink_reply *reply)
{
    const struct arguments *arguments = session->arguments;
    const json_t *index = json_object_get(reply->parameters, "arenaFileDescriptor");
    _cleanup_(leased_layer_done) struct leased_layer layer = {.arena_fd = -1};
    _cleanup_(freep) char *buffer = malloc(CHUNK_BYTES);

    if (!json_is_integer(index))
        return session_fail(EXIT_OTHER, "the daemon has no arena to read from: it only simulates.");
    int fd = varlink_reply_take_fd(reply, (uint64_t)json_integer_value(index));
    int r = fd < 0 ? -EBADMSG
                   : leased_layer_init(&layer, reply->parameters, fd, arguments->operands[2]);
    if (r == -ENOENT)
        return session_fail(EXIT_NOT_FOUND,
                            "layer %s of model %s has no tensor %s. 'emctl list %s --tensors' "
                            "shows its tensors.",
                            session->subject.layer, session->subject.model, arguments->operands[2],
                            session->subject.model);
    if (r == -EBADMSG)
        return session_bad_reply();
    if (r < 0 || !buffer)
        return session_fail(EXIT_OTHER, "%s.", strerror(ENOMEM));
    r = EXIT_DONE;
    for (size_t i = 0; i < layer.n_weights && r == EXIT_DONE; i++)
        r = write_range(&layer, layer.weights[i], buffer);
    return r;
}

int verb_cat(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0}, released = {0};

    if (arguments->json)
        return session_fail(EXIT_USAGE, "cat writes bytes, not JSON. Try 'emctl cat --help'.");
    if (isatty(STDOUT_FILENO) && !arguments->force)
        return session_fail(EXIT_USAGE, "weights are no text for a terminal. Redirect them, as "
                                        "with '>FILE', or say --force.");
    session->subject.model = arguments->operands[0];
    session->subject.layer = arguments->operands[1];
    int r = session_wait_forever(session, -1); /* the layer may have to be loaded */
    if (r == EXIT_DONE)
        r = session_send(session, "Acquire",
                         json_pack("{s:s, s:s}", "model", session->subject.model, "layer",
                                   session->subject.layer),
                         false, NULL);
    if (r == EXIT_DONE)
        r = session_receive_raw(session, &reply);
    if (r == EXIT_DONE)
        r = write_weights(session, &reply);
    if (r != EXIT_DONE)
        return r; /* the lease ends with the connection */
    json_t *lease = json_object_get(reply.parameters, "lease");
    if (!json_is_string(lease))
        return session_bad_reply();
    r = session_send(session, "Release", json_pack("{s:O}", "lease", lease), false, NULL);
    return r == EXIT_DONE ? session_receive(session, &released) : r;
}
