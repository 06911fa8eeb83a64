/* The input is a byte that decides the sizes of the pieces in which the stream arrives, and then
 * what a hostile client sends to the whole daemon. A newline stands for the NUL that ends a
 * message. A message that names a descriptor comes with a weight file. */
#include "tests/fuzz/daemon.h"

enum { QUIET_MSEC = 5 };

struct stream {
    const uint8_t *data;
    size_t n_bytes;
    unsigned step;
    size_t n_pieces;
};

/* Sends a part of a message in pieces. False: the daemon has hung up, or reads no more. */
static bool send_pieces(struct fuzz_client *hostile, struct stream *stream, size_t n_bytes, int fd)
{
    while (n_bytes > 0) {
        char piece[256];
        size_t n = 1 + (size_t)stream->step * ++stream->n_pieces % 251;
        if (n > n_bytes)
            n = n_bytes;
        memcpy(piece, stream->data, n);
        if (piece[n - 1] == '\n')
            piece[n - 1] = '\0';
        if (fuzz_send(hostile->fd, piece, n, fd) != (ssize_t)n)
            return false;
        fd = -1;
        stream->data += n;
        stream->n_bytes -= n;
        n_bytes -= n;
    }
    return true;
}

static void attack(struct fuzz_client *hostile, struct fuzz_client *honest, void *context)
{
    struct stream *stream = context;
    bool is_open = true;
    json_t *reply;

    while (stream->n_bytes > 0 && is_open) {
        const uint8_t *end = memchr(stream->data, '\n', stream->n_bytes);
        size_t n = end ? (size_t)(end + 1 - stream->data) : stream->n_bytes;
        int fd = memmem(stream->data, n, "escriptor", 9) ? fuzz_weight_file() : -1;
        is_open = send_pieces(hostile, stream, n, fd);
        closep(&fd);
    }
    shutdown(hostile->fd, SHUT_WR);
    /* Until the daemon has answered all calls, or waits: Watch never ends. */
    while (fuzz_fill(hostile, QUIET_MSEC))
        while ((reply = fuzz_take_reply(hostile)))
            json_decref(reply);
    json_decref(fuzz_call(honest, FUZZ_CALL("List", ""), -1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes == 0)
        return 0;
    struct stream stream = {.data = data + 1, .n_bytes = n_bytes - 1, .step = data[0]};
    fuzz_daemon(attack, &stream);
    return 0;
}
