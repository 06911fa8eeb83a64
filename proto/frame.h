/* Bytes and descriptors <-> one message, over a non-blocking Unix stream socket.
 *
 * A message is one JSON text and one NUL. Descriptors ride on the first byte of their message, and
 * the kernel may merge a preceding message into the same recvmsg. So the reader peeks, without a
 * control buffer: that tells whether there are descriptors, and takes none. If there are, it
 * receives exactly up to the first NUL, and they can belong to no other message; if not, it
 * receives all that it has seen. Where there is no NUL it consumes what came, so that polling
 * cannot spin. Source of the framing: https://varlink.org and UAPI.20. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_FDS_MAX = 253, /* descriptors with one message: the kernel's SCM_MAX_FD */
    FRAME_PEEK_BYTES = 4096
};

struct frame {
    char *text;             /* NUL-terminated, owned */
    size_t n_bytes;         /* without the NUL */
    int fds[FRAME_FDS_MAX]; /* owned; -1 once taken */
    size_t n_fds;
};

/* Frees the text and closes every descriptor that was not taken. Safe on a zeroed frame. */
void frame_done(struct frame *frame);

struct frame_reader;
/* `max_bytes` bounds a message without its NUL. NULL when out of memory. */
struct frame_reader *frame_reader_new(size_t max_bytes);
struct frame_reader *
frame_reader_free(struct frame_reader *reader); /* closes pending descriptors */

/* From now on messages are received many at a time, where no descriptors forbid it. The caller must
 * then ask frame_reader_more before it waits for the socket. */
void frame_reader_read_ahead(struct frame_reader *reader);

/* Reads one message from `fd`, or what was received ahead of it. Always the same `fd`.
 *   1  a message, owned by the caller
 *   0  the peer has ended its side, at a message's end
 *   -EAGAIN   nothing whole yet
 *   -EMSGSIZE the message is longer than max_bytes
 *   -EBADMSG  a message whose descriptors were lost (MSG_CTRUNC, or more than FRAME_FDS_MAX): `ret`
 *             has its text, owned by the caller, and no descriptor; those that arrived are closed
 *   -ECONNRESET the peer ended inside a message, or another negative errno */
int frame_read(struct frame_reader *reader, int fd, struct frame *ret);

/* Whether part of a message has been read: the caller's clock for slow peers. */
bool frame_reader_partial(const struct frame_reader *reader);

/* Whether more may follow the message that the last frame_read returned, in the reader or in the
 * socket. If false, there was not a byte beyond it (the end of the stream is not looked for). */
bool frame_reader_more(const struct frame_reader *reader);

struct frame_writer;
struct frame_writer *frame_writer_new(void);
struct frame_writer *frame_writer_free(struct frame_writer *writer);

/* Queues one message: `text` (malloc'ed, NUL-terminated; taken, also on failure) and duplicates of
 * `fds`, at most FRAME_FDS_MAX. 0, -ENOMEM or -EMFILE. */
int frame_write(struct frame_writer *writer, char *text, size_t n_bytes, const int *fds,
                size_t n_fds);

/* Likewise, but with `fds` themselves, which are taken, also on failure. 0 or -ENOMEM. */
int frame_write_taking(struct frame_writer *writer, char *text, size_t n_bytes, const int *fds,
                       size_t n_fds);

/* Sends what the socket takes. 0 when nothing is left, -EAGAIN, or another negative errno.
 * Never raises SIGPIPE. */
int frame_flush(struct frame_writer *writer, int fd);

/* Bytes queued and not yet sent. */
uint64_t frame_writer_pending_bytes(const struct frame_writer *writer);

DEFINE_CLEANUP(struct frame_reader *, frame_reader_free);
DEFINE_CLEANUP(struct frame_writer *, frame_writer_free);
