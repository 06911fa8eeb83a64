/* A reader and a writer of frames at one end of a socket pair, and the peer at the other. Every
 * test runs both ways, reading ahead and not, and may leave no descriptor open. */
#pragma once

#include "proto/frame.h"
#include "tests/unit/count_open.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_BYTES = 64 << 10, N_MARKED = 3 };

static bool read_ahead;

static struct {
    int ours, theirs; /* the reader's or writer's end; the peer's, which blocks */
    struct frame_reader *reader;
    struct frame_writer *writer;
    int marked[N_MARKED]; /* files to send, recognised by their sizes: 1, 2 and 3 bytes */
    size_t n_open;        /* descriptors before the test */
} pair;

static inline int marked_fd(off_t size)
{
    char path[] = "/tmp/test_frame.XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_eq(ftruncate(fd, size), 0);
    return fd;
}

static inline void setup(void)
{
    int fds[2];

    pair.n_open = count_open();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    pair.ours = fds[0];
    pair.theirs = fds[1];
    ck_assert_int_eq(fcntl(pair.ours, F_SETFL, O_NONBLOCK), 0);
    for (int i = 0; i < N_MARKED; i++)
        pair.marked[i] = marked_fd(i + 1);
    pair.reader = frame_reader_new(MAX_BYTES);
    pair.writer = frame_writer_new();
    ck_assert(pair.reader && pair.writer);
    if (read_ahead)
        frame_reader_read_ahead(pair.reader);
}

/* The sender's own: what is in flight stays open. */
static inline void close_marked(void)
{
    for (int i = 0; i < N_MARKED; i++) {
        if (pair.marked[i] >= 0)
            close(pair.marked[i]);
        pair.marked[i] = -1;
    }
}

static inline void peer_closes(void)
{
    if (pair.theirs >= 0)
        close(pair.theirs);
    pair.theirs = -1;
}

static inline void teardown(void)
{
    frame_reader_free(pair.reader);
    frame_writer_free(pair.writer);
    close_marked();
    close(pair.ours);
    peer_closes();
    ck_assert_uint_eq(count_open(), pair.n_open);
}

/* Sends all of it, the descriptors with the first byte. */
static inline void send_fds(const char *bytes, size_t n_bytes, const int *fds, size_t n_fds)
{
    union {
        char bytes[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec part = {(void *)bytes, n_bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    if (n_fds > 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        *rights = (struct cmsghdr){CMSG_LEN(n_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(rights), fds, n_fds * sizeof(int));
    }
    ck_assert_int_eq(sendmsg(pair.theirs, &header, 0), (ssize_t)n_bytes);
}

#define SEND(literal) send_fds(literal, sizeof(literal) - 1, NULL, 0)
/* With `n` of the marked ones, from `first` on, which is counted from 1 as their sizes are. */
#define SEND_MARKED(literal, first, n) \
    send_fds(literal, sizeof(literal) - 1, pair.marked + (first)-1, n)

static inline off_t mark_of(int fd)
{
    struct stat status;

    ck_assert_int_eq(fstat(fd, &status), 0);
    return status.st_size;
}

/* Expects the next message to be `text` with the descriptors marked first_mark, first_mark + 1
 * ... */
static inline void expect_marked(const char *text, off_t first_mark, size_t n_fds)
{
    struct frame frame = {0};

    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
    ck_assert_str_eq(frame.text, text);
    ck_assert_uint_eq(frame.n_bytes, strlen(text));
    ck_assert_uint_eq(frame.n_fds, n_fds);
    for (size_t i = 0; i < n_fds; i++) {
        ck_assert_int_eq(mark_of(frame.fds[i]), first_mark + (off_t)i);
        ck_assert_int_eq(fcntl(frame.fds[i], F_GETFD), FD_CLOEXEC);
    }
    frame_done(&frame);
    ck_assert(!frame_reader_partial(pair.reader));
}

static inline void expect(const char *text)
{
    expect_marked(text, 0, 0);
}

static inline void expect_none(int error)
{
    struct frame frame = {0};

    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), error);
    ck_assert_ptr_null(frame.text);
}

static inline void turn_on_read_ahead(void)
{
    read_ahead = true;
}

static inline int run_both_ways(const char *name, void (*add_tests)(TCase *))
{
    Suite *suite = suite_create(name);

    for (int ahead = 0; ahead < 2; ahead++) {
        TCase *tcase = tcase_create(ahead ? "read ahead" : "one by one");
        tcase_set_timeout(tcase, 60);
        if (ahead)
            tcase_add_unchecked_fixture(tcase, turn_on_read_ahead, NULL);
        tcase_add_checked_fixture(tcase, setup, teardown);
        add_tests(tcase);
        suite_add_tcase(suite, tcase);
    }
    return run_suite(suite);
}
