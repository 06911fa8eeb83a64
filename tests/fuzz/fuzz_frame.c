/* The input is a byte that decides the sizes of the pieces in which the stream arrives, and then
 * the stream of a peer. A piece whose size is a multiple of 8 bytes comes with a descriptor. */
#include "proto/frame.h"
#include "proto/message.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

enum { BYTES_MAX = 4000 };

/* Reads all messages that have arrived. 0, or an error after which the connection is closed. */
static int read_all(struct frame_reader *reader, int fd)
{
    for (;;) {
        struct frame frame = {0};
        int r = frame_read(reader, fd, &frame);
        if (r == 1 || r == -EBADMSG) {
            struct message_call call;
            REQUIRE(frame.n_bytes <= BYTES_MAX && strlen(frame.text) == frame.n_bytes);
            REQUIRE(r == 1 || frame.n_fds == 0);
            if (message_parse_call(frame.text, frame.n_bytes, &call) == 0) {
                REQUIRE(call.method && json_is_object(call.parameters));
                REQUIRE(call.oneway + call.more + call.upgrade <= 1);
                message_call_done(&call);
            }
            frame_done(&frame);
            continue;
        }
        REQUIRE(r == 0 || r == -EAGAIN || r == -EMSGSIZE || r == -ECONNRESET || r == -ENOMEM);
        return r == -EAGAIN ? 0 : r == 0 ? 1 : r;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    int fds[2];

    if (n_bytes == 0)
        return 0;
    unsigned step = *data++;
    n_bytes--;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    struct frame_reader *reader = frame_reader_new(BYTES_MAX);
    int r = reader ? 0 : -ENOMEM;
    for (unsigned i = 1; n_bytes > 0 && r == 0; i++) {
        size_t n = 1 + (size_t)step * i % 251;
        if (n > n_bytes)
            n = n_bytes;
        REQUIRE(fuzz_send(fds[0], data, n, n % 8 == 0 ? STDERR_FILENO : -1) == (ssize_t)n);
        data += n;
        n_bytes -= n;
        r = read_all(reader, fds[1]);
        REQUIRE(r <= 0);
    }
    close(fds[0]);
    if (r == 0)
        REQUIRE(read_all(reader, fds[1]) != 0);
    frame_reader_free(reader);
    close(fds[1]);
    return 0;
}
