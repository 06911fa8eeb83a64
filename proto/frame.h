/* Sends and receives messages, with descriptors, over a non-blocking Unix stream socket.
 *
 * A message is one JSON text and one NUL. Its descriptors are sent with its first byte, but one
 * recvmsg may also return the message before. So the reader first peeks without a control buffer,
 * which shows whether there are descriptors but receives none. If there are, it receives exactly up
 * to the first NUL, so they cannot belong to another message. Otherwise it receives all bytes that
 * the peek showed. If there is no NUL, it also receives them, so that polling cannot spin. Source
 * of the framing: https://varlink.org and UAPI.20. */
#pragma once

#include "common/cleanup.h"
#include "common/passed_fd.h"

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
    struct passed_fd_owner *owner; /* borrowed; may be NULL */
};

/* Frees the text and closes every descriptor that was not taken. A zeroed frame is allowed. */
void frame_done(struct frame *frame);

struct frame_reader;
/* `max_bytes` is the maximum length of a message without its NUL. NULL when out of memory. */
struct frame_reader *frame_reader_new(size_t max_bytes);
struct frame_reader *
frame_reader_free(struct frame_reader *reader); /* closes pending descriptors */

/* From now on the reader receives many messages at a time, unless there are descriptors. The caller
 * must then call frame_reader_more before it waits for the socket. */
void frame_reader_read_ahead(struct frame_reader *reader);

/* Reads one message from `fd`, or from the bytes that were received ahead. `fd` must always be the
 * same. 1  a message, owned by the caller 0  the peer has ended its side after a complete message
 *   -EAGAIN   no complete message yet
 *   -EMSGSIZE the message is longer than max_bytes
 *   -EBADMSG  descriptors of the message were lost (MSG_CTRUNC, or more than allowed): `ret`
 *             has its text, owned by the caller, and no descriptor; those that arrived are closed
 *   -ECONNRESET the peer ended within a message, or another negative errno */
int frame_read(struct frame_reader *reader, int fd, struct frame *ret);

/* From now on a message may have `max_fds` descriptors, FRAME_FDS_MAX unless set; those that were
 * received count. The descriptors of a message with more are lost: see frame_read. */
void frame_reader_limit_fds(struct frame_reader *reader, size_t max_fds);

/* From now on what the reader, or a frame that it read, closes counts for `owner`, which must
 * outlive both. */
void frame_reader_set_owner(struct frame_reader *reader, struct passed_fd_owner *owner);

/* The number of descriptors that came with the part of a message that was received. */
size_t frame_reader_n_fds(const struct frame_reader *reader);

/* Whether a message has been read in part. The caller uses this to limit the time of slow peers. */
bool frame_reader_partial(const struct frame_reader *reader);

/* Whether the reader or the socket may have more bytes after the message that the last frame_read
 * returned. If false, there were none. This does not look for the end of the stream. */
bool frame_reader_more(const struct frame_reader *reader);

struct frame_writer;
struct frame_writer *frame_writer_new(void);
struct frame_writer *frame_writer_free(struct frame_writer *writer);

/* Queues one message: `text` (malloc'ed, NUL-terminated; ownership is taken, also on failure) and
 * duplicates of `fds`, at most FRAME_FDS_MAX. 0, -ENOMEM or -EMFILE. */
int frame_write(struct frame_writer *writer, char *text, size_t n_bytes, const int *fds,
                size_t n_fds);

/* The same, but takes ownership of `fds` instead of duplicating them, also on failure. 0 or
 * -ENOMEM. */
int frame_write_taking(struct frame_writer *writer, char *text, size_t n_bytes, const int *fds,
                       size_t n_fds);

/* Sends as much as the socket accepts. 0 if nothing is left, -EAGAIN, or another negative errno.
 * Never raises SIGPIPE. */
int frame_flush(struct frame_writer *writer, int fd);

/* Frees up to `n_max` of the queued messages, which then are not sent. Whether any are left. */
bool frame_writer_discard(struct frame_writer *writer, size_t n_max);

/* How many queued bytes are not sent yet. */
uint64_t frame_writer_pending_bytes(const struct frame_writer *writer);

/* Bytes of memory that the queued messages take; a message takes all of its own until it is sent
 * whole. */
uint64_t frame_writer_allocated_bytes(const struct frame_writer *writer);

DEFINE_CLEANUP(struct frame_reader *, frame_reader_free);
DEFINE_CLEANUP(struct frame_writer *, frame_writer_free);
