/* Owns the bytes and descriptors of one message that is being read.
 *
 * Invariant: the reader's descriptors belong to one message only, because with descriptors it never
 * receives beyond a NUL. message.c interprets the text; the caller waits and has the clocks. */
#include "proto/frame.h"

#include "common/passed_fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct frame_reader {
    size_t max_bytes;
    char *text; /* the received part of a message; its NUL is there only while frame_read runs */
    size_t n_bytes, n_allocated;
    int fds[FRAME_FDS_MAX];
    size_t n_fds, max_fds;
    bool fds_lost;
    char *ahead; /* received after the last message: the n_ahead bytes at ahead + ahead_offset */
    size_t ahead_offset, n_ahead;
    struct passed_fd_owner *owner;
    bool reads_ahead;
    bool socket_more; /* false only if a peek has just shown that the socket holds no more */
};

static void close_all(int *fds, size_t *n_fds, struct passed_fd_owner *owner)
{
    size_t n_left = 0; /* that nobody took */

    for (size_t i = 0; i < *n_fds; i++)
        if (fds[i] >= 0)
            fds[n_left++] = fds[i];
    passed_fds_close(fds, n_left, owner);
    *n_fds = 0;
}

void frame_done(struct frame *frame)
{
    free(frame->text);
    frame->text = NULL;
    frame->n_bytes = 0;
    close_all(frame->fds, &frame->n_fds, frame->owner);
}

struct frame_reader *frame_reader_new(size_t max_bytes)
{
    struct frame_reader *reader = calloc(1, sizeof *reader);

    if (reader) {
        reader->max_bytes = max_bytes;
        reader->max_fds = FRAME_FDS_MAX;
    }
    return reader;
}

struct frame_reader *frame_reader_free(struct frame_reader *reader)
{
    if (!reader)
        return NULL;
    close_all(reader->fds, &reader->n_fds, reader->owner);
    free(reader->text);
    free(reader->ahead);
    free(reader);
    return NULL;
}

void frame_reader_read_ahead(struct frame_reader *reader)
{
    reader->reads_ahead = true;
}

void frame_reader_limit_fds(struct frame_reader *reader, size_t max_fds)
{
    reader->max_fds = max_fds < FRAME_FDS_MAX ? max_fds : FRAME_FDS_MAX;
}

void frame_reader_set_owner(struct frame_reader *reader, struct passed_fd_owner *owner)
{
    reader->owner = owner;
}

size_t frame_reader_n_fds(const struct frame_reader *reader)
{
    return reader->n_fds;
}

bool frame_reader_partial(const struct frame_reader *reader)
{
    return reader->n_bytes > 0;
}

bool frame_reader_more(const struct frame_reader *reader)
{
    return reader->n_ahead > 0 || reader->socket_more;
}

/* Makes room for `n_text` more bytes, and for the NUL if they end the message. 0, -EMSGSIZE or
 * -ENOMEM. */
static int reserve(struct frame_reader *reader, size_t n_text, bool whole)
{
    if (n_text > reader->max_bytes - reader->n_bytes)
        return -EMSGSIZE;
    size_t needed = reader->n_bytes + n_text + whole;
    if (needed <= reader->n_allocated)
        return 0;
    if (!whole && needed < 2 * reader->n_allocated)
        needed = 2 * reader->n_allocated;
    if (needed > reader->max_bytes + 1)
        needed = reader->max_bytes + 1;
    char *text = realloc(reader->text, needed);
    if (!text)
        return -ENOMEM;
    reader->text = text;
    reader->n_allocated = needed;
    return 0;
}

static void take_fds(struct frame_reader *reader, struct msghdr *header)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n_fds; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (reader->n_fds < reader->max_fds) {
                reader->fds[reader->n_fds++] = fd;
            } else {
                passed_fds_close(&fd, 1, reader->owner);
                reader->fds_lost = true;
            }
        }
    }
    if (header->msg_flags & MSG_CTRUNC)
        reader->fds_lost = true;
    if (reader->fds_lost)
        close_all(reader->fds, &reader->n_fds, reader->owner); /* nobody will get them */
}

/* Adds the bytes up to the first NUL, inclusive, to the message. Returns their number, or a
 * negative errno. */
static ssize_t add(struct frame_reader *reader, const char *bytes, size_t n_bytes)
{
    const char *nul = memchr(bytes, '\0', n_bytes);
    size_t n_text = nul ? (size_t)(nul - bytes) : n_bytes, n = n_text + (nul != NULL);

    int r = reserve(reader, n_text, nul != NULL);
    if (r < 0)
        return r;
    memcpy(reader->text + reader->n_bytes, bytes, n);
    reader->n_bytes += n;
    return (ssize_t)n;
}

static ssize_t receive_message(int fd, struct msghdr *header, int flags)
{
    ssize_t n;

    do {
        n = recvmsg(fd, header, MSG_DONTWAIT | flags);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Receives only bytes of the present message, so that the descriptors that come with them belong to
 * it. `peeked` has the next bytes of the socket. */
static ssize_t receive_exactly(struct frame_reader *reader, int fd, const char *peeked,
                               size_t n_peeked)
{
    union {
        char bytes[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    const char *nul = memchr(peeked, '\0', n_peeked);
    size_t n_text = nul ? (size_t)(nul - peeked) : n_peeked;

    int r = reserve(reader, n_text, nul != NULL);
    if (r < 0)
        return r;
    struct iovec part = {.iov_base = reader->text + reader->n_bytes,
                         .iov_len = n_text + (nul != NULL)};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    /* The kernel opens only as many as there is room for. */
    if (reader->n_fds < reader->max_fds && !reader->fds_lost) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_LEN((reader->max_fds - reader->n_fds) * sizeof(int));
    }
    ssize_t n = receive_message(fd, &header, MSG_CMSG_CLOEXEC);
    if (n > 0) {
        take_fds(reader, &header);
        reader->n_bytes += (size_t)n;
    }
    return n;
}

/* Receives bytes without descriptors into the buffer of the peek. Bytes after the message are kept
 * for later. */
static ssize_t receive_plain(struct frame_reader *reader, int fd, char *bytes, size_t n_peeked)
{
    struct iovec part = {.iov_base = bytes, .iov_len = n_peeked};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    ssize_t n = receive_message(fd, &header, 0);
    if (n <= 0)
        return n;
    ssize_t n_added = add(reader, bytes, (size_t)n);
    if (n_added < 0 || n_added == n)
        return n_added;
    size_t n_ahead = (size_t)(n - n_added);
    reader->ahead = malloc(n_ahead);
    if (!reader->ahead)
        return -ENOMEM;
    memcpy(reader->ahead, bytes + n_added, n_ahead);
    reader->ahead_offset = 0;
    reader->n_ahead = n_ahead;
    return n;
}

/* Receives bytes from the socket. Returns their number, 0 at the end of the stream, or a negative
 * errno. */
static ssize_t receive(struct frame_reader *reader, int fd)
{
    char peeked[FRAME_PEEK_BYTES];
    struct iovec part = {.iov_base = peeked, .iov_len = sizeof peeked};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    ssize_t n = receive_message(fd, &header, MSG_PEEK);
    if (n <= 0)
        return n;
    size_t n_peeked = (size_t)n;
    /* Without a control buffer, the flag says that descriptors belong to these bytes, but none is
     * installed. A peek stops after such bytes. */
    bool with_fds = header.msg_flags & MSG_CTRUNC;
    if (with_fds || !reader->reads_ahead)
        n = receive_exactly(reader, fd, part.iov_base, n_peeked);
    else
        n = receive_plain(reader, fd, part.iov_base, n_peeked);
    reader->socket_more = with_fds || n_peeked == sizeof peeked || n < (ssize_t)n_peeked;
    return n;
}

/* Continues with the bytes that were received ahead. */
static ssize_t take_ahead(struct frame_reader *reader)
{
    ssize_t n = add(reader, reader->ahead + reader->ahead_offset, reader->n_ahead);

    if (n < 0)
        return n;
    reader->ahead_offset += (size_t)n;
    reader->n_ahead -= (size_t)n;
    reader->socket_more = true; /* the socket may have more */
    if (reader->n_ahead == 0)
        free(TAKE_PTR(reader->ahead));
    return n;
}

/* Passes the complete message to the caller and prepares the reader for the next one. */
static int finish(struct frame_reader *reader, struct frame *ret)
{
    bool fds_lost = reader->fds_lost;

    if (fds_lost)
        close_all(reader->fds, &reader->n_fds, reader->owner);
    ret->text = TAKE_PTR(reader->text);
    ret->n_bytes = reader->n_bytes - 1;
    ret->n_fds = reader->n_fds;
    ret->owner = reader->owner;
    memcpy(ret->fds, reader->fds, reader->n_fds * sizeof reader->fds[0]);
    reader->n_bytes = reader->n_allocated = reader->n_fds = 0;
    reader->fds_lost = false;
    return fds_lost ? -EBADMSG : 1;
}

int frame_read(struct frame_reader *reader, int fd, struct frame *ret)
{
    do {
        ssize_t n = reader->n_ahead > 0 ? take_ahead(reader) : receive(reader, fd);
        if (n == 0)
            return frame_reader_partial(reader) ? -ECONNRESET : 0;
        if (n < 0)
            return (int)n;
    } while (reader->text[reader->n_bytes - 1] != '\0');
    return finish(reader, ret);
}
