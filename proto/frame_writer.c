/* Owns the messages that wait to be sent.
 *
 * Invariant: descriptors are sent with the first byte of their message, in a separate sendmsg. They
 * are closed as soon as that byte is sent. */
#include "proto/frame.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { BATCH_MESSAGES = 64 /* with one sendmsg */ };

struct output {
    struct output *next;
    char *text;
    size_t n_bytes; /* with the NUL */
    size_t n_sent;
    size_t n_fds; /* 0 once they are sent */
    int fds[];
};

struct frame_writer {
    struct output *first, **end;
    uint64_t pending_bytes, allocated_bytes;
};

static void close_each(const int *fds, size_t n_fds)
{
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
}

static void output_close_fds(struct output *output)
{
    close_each(output->fds, output->n_fds);
    output->n_fds = 0;
}

struct frame_writer *frame_writer_new(void)
{
    struct frame_writer *writer = calloc(1, sizeof *writer);

    if (writer)
        writer->end = &writer->first;
    return writer;
}

/* What a message takes of the heap, with the heap's own word for each block. */
static uint64_t output_allocated_bytes(struct output *output)
{
    return malloc_usable_size(output) + malloc_usable_size(output->text) + 2 * sizeof(size_t);
}

static void output_free(struct output *output)
{
    output_close_fds(output);
    free(output->text);
    free(output);
}

static void free_first(struct frame_writer *writer)
{
    struct output *output = writer->first;

    writer->first = output->next;
    if (!writer->first)
        writer->end = &writer->first;
    writer->allocated_bytes -= output_allocated_bytes(output);
    output_free(output);
}

bool frame_writer_discard(struct frame_writer *writer, size_t n_max)
{
    for (; writer->first && n_max > 0; n_max--) {
        writer->pending_bytes -= writer->first->n_bytes - writer->first->n_sent;
        free_first(writer);
    }
    return writer->first;
}

struct frame_writer *frame_writer_free(struct frame_writer *writer)
{
    if (!writer)
        return NULL;
    frame_writer_discard(writer, SIZE_MAX);
    free(writer);
    return NULL;
}

int frame_write_taking(struct frame_writer *writer, char *text, size_t n_bytes, const int *fds,
                       size_t n_fds)
{
    assert(n_fds <= FRAME_FDS_MAX);
    assert(text[n_bytes] == '\0');
    struct output *output = malloc(sizeof *output + n_fds * sizeof output->fds[0]);
    if (!output) {
        free(text);
        close_each(fds, n_fds);
        return -ENOMEM;
    }
    *output = (struct output){.n_bytes = n_bytes + 1, .n_fds = n_fds, .text = text};
    for (size_t i = 0; i < n_fds; i++)
        output->fds[i] = fds[i];
    *writer->end = output;
    writer->end = &output->next;
    writer->pending_bytes += output->n_bytes;
    writer->allocated_bytes += output_allocated_bytes(output);
    return 0;
}

int frame_write(struct frame_writer *writer, char *text, size_t n_bytes, const int *fds,
                size_t n_fds)
{
    int copies[FRAME_FDS_MAX];

    assert(n_fds <= FRAME_FDS_MAX);
    for (size_t i = 0; i < n_fds; i++) {
        copies[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (copies[i] < 0) {
            int error = -errno;
            close_each(copies, i);
            free(text);
            return error;
        }
    }
    return frame_write_taking(writer, text, n_bytes, copies, n_fds);
}

/* Counts the bytes that a sendmsg has sent, and frees the messages that are completely sent. */
static void advance(struct frame_writer *writer, size_t n_sent)
{
    writer->pending_bytes -= n_sent;
    while (n_sent > 0) {
        struct output *output = writer->first;
        size_t n = output->n_bytes - output->n_sent;

        output_close_fds(output);
        if (n_sent < n) {
            output->n_sent += n_sent;
            return;
        }
        n_sent -= n;
        free_first(writer);
    }
}

/* Sends a batch: a single message with descriptors, or all messages up to the next one with
 * descriptors. */
static ssize_t send_batch(const struct frame_writer *writer, int fd)
{
    union {
        char bytes[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec parts[BATCH_MESSAGES];
    struct msghdr header = {.msg_iov = parts};
    const struct output *first = writer->first;

    for (const struct output *output = first; output && header.msg_iovlen < BATCH_MESSAGES;
         output = output->next) {
        if (output != first && (output->n_fds > 0 || first->n_fds > 0))
            break;
        parts[header.msg_iovlen++] = (struct iovec){.iov_base = output->text + output->n_sent,
                                                    .iov_len = output->n_bytes - output->n_sent};
    }
    if (first->n_fds > 0) {
        size_t n_fd_bytes = first->n_fds * sizeof(int);
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(n_fd_bytes);
        memset(control.bytes, 0, header.msg_controllen);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(n_fd_bytes);
        memcpy(CMSG_DATA(rights), first->fds, n_fd_bytes);
    }
    return sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int frame_flush(struct frame_writer *writer, int fd)
{
    while (writer->first) {
        ssize_t n = send_batch(writer, fd);
        if (n >= 0)
            advance(writer, (size_t)n);
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

uint64_t frame_writer_pending_bytes(const struct frame_writer *writer)
{
    return writer->pending_bytes;
}

uint64_t frame_writer_allocated_bytes(const struct frame_writer *writer)
{
    return writer->allocated_bytes;
}
