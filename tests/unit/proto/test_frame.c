/* Framing over real socket pairs: where messages begin and end, and to whom descriptors belong. */
#include "proto/frame.h"
#include "tests/unit/case_step.h"
#include "tests/unit/count_open.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { MAX_BYTES = 64 << 10 };

/* Every test runs both ways. */
static bool read_ahead;

struct pair {
    int ours, theirs; /* the reader's or writer's end; the peer's, which blocks */
    struct frame_reader *reader;
    struct frame_writer *writer;
    size_t n_open; /* descriptors before the test */
};

static void setup(struct pair *pair)
{
    int fds[2];

    pair->n_open = count_open();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    pair->ours = fds[0];
    pair->theirs = fds[1];
    ck_assert_int_eq(fcntl(pair->ours, F_SETFL, O_NONBLOCK), 0);
    pair->reader = frame_reader_new(MAX_BYTES);
    pair->writer = frame_writer_new();
    ck_assert(pair->reader && pair->writer);
    if (read_ahead)
        frame_reader_read_ahead(pair->reader);
}

/* Everything must be closed after it. */
static void teardown(struct pair *pair)
{
    frame_reader_free(pair->reader);
    frame_writer_free(pair->writer);
    close(pair->ours);
    if (pair->theirs >= 0)
        close(pair->theirs);
    ck_assert_uint_eq(count_open(), pair->n_open);
}

/* Sends all of it, the descriptors with the first byte. */
static void send_fds(int fd, const char *bytes, size_t n_bytes, const int *fds, size_t n_fds)
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
    ck_assert_int_eq(sendmsg(fd, &header, 0), (ssize_t)n_bytes);
}

#define SEND(pair, literal) send_fds((pair)->theirs, literal, sizeof(literal) - 1, NULL, 0)
#define SEND_FDS(pair, literal, fds, n) \
    send_fds((pair)->theirs, literal, sizeof(literal) - 1, fds, n)

/* A regular file that can be recognised by its size. */
static int marked_fd(off_t size)
{
    char path[] = "/tmp/test_frame.XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_eq(ftruncate(fd, size), 0);
    return fd;
}

static off_t mark_of(int fd)
{
    struct stat status;

    ck_assert_int_eq(fstat(fd, &status), 0);
    return status.st_size;
}

/* The next message must be `text` with the descriptors marked first_mark, first_mark + 1 ... */
static void expect(struct pair *pair, const char *text, size_t n_fds, off_t first_mark)
{
    struct frame frame = {0};

    ck_assert_int_eq(frame_read(pair->reader, pair->ours, &frame), 1);
    ck_assert_str_eq(frame.text, text);
    ck_assert_uint_eq(frame.n_bytes, strlen(text));
    ck_assert_uint_eq(frame.n_fds, n_fds);
    for (size_t i = 0; i < n_fds; i++) {
        ck_assert_int_eq(mark_of(frame.fds[i]), first_mark + (off_t)i);
        ck_assert_int_eq(fcntl(frame.fds[i], F_GETFD), FD_CLOEXEC);
    }
    frame_done(&frame);
    ck_assert(!frame_reader_partial(pair->reader));
}

static void expect_none(struct pair *pair, int error)
{
    struct frame frame = {0};

    ck_assert_int_eq(frame_read(pair->reader, pair->ours, &frame), error);
    ck_assert_ptr_null(frame.text);
}

START_TEST(test_one)
{
    struct pair pair;

    setup(&pair);
    expect_none(&pair, -EAGAIN);
    SEND(&pair, "hello\0");
    expect(&pair, "hello", 0, 0);
    ck_assert(!frame_reader_more(pair.reader));
    expect_none(&pair, -EAGAIN);
    close(pair.theirs);
    pair.theirs = -1;
    expect_none(&pair, 0);
    expect_none(&pair, 0);
    teardown(&pair);
}
END_TEST

START_TEST(test_back_to_back)
{
    struct pair pair;

    setup(&pair);
    SEND(&pair, "a\0\0bc\0d");
    expect(&pair, "a", 0, 0);
    ck_assert(frame_reader_more(pair.reader));
    expect(&pair, "", 0, 0);
    expect(&pair, "bc", 0, 0);
    ck_assert(frame_reader_more(pair.reader));
    expect_none(&pair, -EAGAIN);
    ck_assert(frame_reader_partial(pair.reader));
    SEND(&pair, "\0");
    expect(&pair, "d", 0, 0);
    teardown(&pair);
}
END_TEST

/* Half a message must be consumed, or a level-triggered loop would spin. */
START_TEST(test_partial_is_consumed)
{
    struct pair pair;
    char byte;

    setup(&pair);
    SEND(&pair, "half");
    expect_none(&pair, -EAGAIN);
    ck_assert(frame_reader_partial(pair.reader));
    ck_assert_int_eq(recv(pair.ours, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
    teardown(&pair);
}
END_TEST

START_TEST(test_split_everywhere)
{
    static const char stream[] = "{\"a\":1}\0{}\0{\"b\":[2,3]}"; /* and its NUL */
    static const char *const texts[] = {"{\"a\":1}", "{}", "{\"b\":[2,3]}"};

    for (size_t split = 1; split < sizeof stream; split++) {
        struct pair pair;
        size_t n = 0;

        setup(&pair);
        for (size_t part = 0; part < 2; part++) {
            struct frame frame = {0};
            send_fds(pair.theirs, part ? stream + split : stream,
                     part ? sizeof stream - split : split, NULL, 0);
            int r;
            while ((r = frame_read(pair.reader, pair.ours, &frame)) == 1) {
                ck_assert_str_eq(frame.text, texts[n++]);
                frame_done(&frame);
            }
            ck_assert_int_eq(r, -EAGAIN);
        }
        ck_assert_uint_eq(n, 3);
        teardown(&pair);
    }
}
END_TEST

START_TEST(test_byte_by_byte)
{
    static const char stream[] = "{\"a\":1}";
    struct pair pair;

    setup(&pair);
    for (size_t i = 0; i + 1 < sizeof stream; i++) {
        send_fds(pair.theirs, stream + i, 1, NULL, 0);
        expect_none(&pair, -EAGAIN);
    }
    SEND(&pair, "\0");
    expect(&pair, stream, 0, 0);
    teardown(&pair);
}
END_TEST

/* The kernel glues a message without descriptors to the next one's, in one recvmsg. */
START_TEST(test_fds_after_plain_message)
{
    struct pair pair;
    int fds[2];

    setup(&pair);
    fds[0] = marked_fd(1);
    fds[1] = marked_fd(2);
    SEND(&pair, "plain\0");
    SEND_FDS(&pair, "with one\0", &fds[0], 1);
    SEND_FDS(&pair, "with another\0", &fds[1], 1);
    SEND(&pair, "plain again\0");
    SEND_FDS(&pair, "with both\0", fds, 2);
    close(fds[0]);
    close(fds[1]);
    expect(&pair, "plain", 0, 0);
    expect(&pair, "with one", 1, 1);
    ck_assert(frame_reader_more(pair.reader));
    expect(&pair, "with another", 1, 2);
    ck_assert(frame_reader_more(pair.reader));
    expect(&pair, "plain again", 0, 0);
    expect(&pair, "with both", 2, 1);
    expect_none(&pair, -EAGAIN);
    teardown(&pair);
}
END_TEST

/* Messages that were read ahead come out even when the socket has nothing more, or is gone. */
START_TEST(test_read_ahead)
{
    struct pair pair;
    int fd;

    setup(&pair);
    fd = marked_fd(1);
    SEND(&pair, "a\0b\0");
    SEND(&pair, "c\0ha");
    expect(&pair, "a", 0, 0);
    ck_assert(frame_reader_more(pair.reader));
    SEND(&pair, "lf\0");
    expect(&pair, "b", 0, 0);
    expect(&pair, "c", 0, 0);
    expect(&pair, "half", 0, 0);
    ck_assert(!frame_reader_more(pair.reader));

    /* The socket is not looked at for the second one, so nobody can tell what came meanwhile. */
    SEND(&pair, "a\0b\0");
    expect(&pair, "a", 0, 0);
    SEND(&pair, "c\0");
    expect(&pair, "b", 0, 0);
    ck_assert(frame_reader_more(pair.reader));
    expect(&pair, "c", 0, 0);
    ck_assert(!frame_reader_more(pair.reader));

    SEND(&pair, "a\0b\0c\0ha");
    expect(&pair, "a", 0, 0);
    SEND(&pair, "lf\0");
    SEND_FDS(&pair, "fd\0x\0", &fd, 1);
    close(fd);
    close(pair.theirs);
    pair.theirs = -1;
    expect(&pair, "b", 0, 0);
    expect(&pair, "c", 0, 0);
    expect(&pair, "half", 0, 0);
    expect(&pair, "fd", 1, 1);
    expect(&pair, "x", 0, 0);
    expect_none(&pair, 0);
    teardown(&pair);

    setup(&pair);
    SEND(&pair, "a\0b\0half");
    expect(&pair, "a", 0, 0);
    teardown(&pair);
}
END_TEST

/* Random streams, sent in random pieces, come out as they went in. */
START_TEST(test_random_streams)
{
    unsigned seed = (unsigned)getpid();
    struct pair pair;
    int fds[3];

    printf("seed %u\n", seed);
    setup(&pair);
    for (int i = 0; i < 3; i++)
        fds[i] = marked_fd(i + 1);
    for (int round = 0; round < 2000; round += case_step()) {
        enum { N = 8 };
        size_t lengths[N], n_fds[N];
        for (int i = 0; i < N; i++) {
            char text[700];
            lengths[i] = (size_t)rand_r(&seed) % (rand_r(&seed) % 4 ? 20 : 600);
            n_fds[i] = rand_r(&seed) % 3 ? 0 : 1 + (size_t)rand_r(&seed) % 3;
            memset(text, 'a' + i, lengths[i]);
            text[lengths[i]] = '\0';
            size_t split = 1 + (size_t)rand_r(&seed) % (lengths[i] + 1);
            send_fds(pair.theirs, text, split, fds, n_fds[i]);
            if (split < lengths[i] + 1)
                send_fds(pair.theirs, text + split, lengths[i] + 1 - split, NULL, 0);
        }
        for (int i = 0; i < N; i++) {
            struct frame frame = {0};
            ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
            ck_assert_uint_eq(frame.n_bytes, lengths[i]);
            ck_assert_uint_eq(strlen(frame.text), lengths[i]);
            ck_assert(lengths[i] == 0 || frame.text[lengths[i] - 1] == 'a' + i);
            ck_assert_uint_eq(frame.n_fds, n_fds[i]);
            ck_assert(i == N - 1 || frame_reader_more(pair.reader));
            frame_done(&frame);
        }
        expect_none(&pair, -EAGAIN);
    }
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    teardown(&pair);
}
END_TEST

/* A peek stops behind descriptors: a short one does not mean that the socket is empty. */
START_TEST(test_more_behind_fds)
{
    struct pair pair;
    int fd;

    setup(&pair);
    fd = marked_fd(1);
    SEND_FDS(&pair, "first\0", &fd, 1);
    SEND(&pair, "second\0");
    close(fd);
    expect(&pair, "first", 1, 1);
    ck_assert(frame_reader_more(pair.reader));
    expect(&pair, "second", 0, 0);
    ck_assert(!frame_reader_more(pair.reader));
    teardown(&pair);
}
END_TEST

START_TEST(test_two_messages_with_one_send)
{
    struct pair pair;
    int fd;

    setup(&pair);
    fd = marked_fd(1);
    SEND_FDS(&pair, "owner\0other\0", &fd, 1);
    close(fd);
    expect(&pair, "owner", 1, 1);
    expect(&pair, "other", 0, 0);
    teardown(&pair);
}
END_TEST

START_TEST(test_split_message_with_fds)
{
    struct pair pair;
    int fds[3];

    setup(&pair);
    for (int i = 0; i < 3; i++)
        fds[i] = marked_fd(i + 1);
    SEND_FDS(&pair, "sp", &fds[0], 1);
    expect_none(&pair, -EAGAIN);
    SEND_FDS(&pair, "li", &fds[1], 1);
    SEND_FDS(&pair, "t\0next\0", &fds[2], 1);
    expect(&pair, "split", 3, 1);
    expect(&pair, "next", 0, 0);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    teardown(&pair);
}
END_TEST

START_TEST(test_fds_never_taken)
{
    struct pair pair;
    struct frame frame = {0};
    int fds[2];

    setup(&pair);
    fds[0] = marked_fd(1);
    fds[1] = marked_fd(2);
    SEND_FDS(&pair, "m\0", fds, 2);
    SEND_FDS(&pair, "half", fds, 2);
    close(fds[0]);
    close(fds[1]);
    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
    int taken = TAKE_FD(frame.fds[1]);
    frame_done(&frame);
    frame_done(&frame);
    ck_assert_int_eq(mark_of(taken), 2);
    close(taken);
    expect_none(&pair, -EAGAIN);
    teardown(&pair); /* the reader still holds two */
}
END_TEST

START_TEST(test_as_many_fds_as_go)
{
    struct pair pair;
    struct frame frame = {0};
    int fds[FRAME_FDS_MAX];

    setup(&pair);
    int fd = marked_fd(7);
    for (size_t i = 0; i < FRAME_FDS_MAX; i++)
        fds[i] = fd;
    SEND_FDS(&pair, "many\0", fds, FRAME_FDS_MAX);
    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
    ck_assert_uint_eq(frame.n_fds, FRAME_FDS_MAX);
    ck_assert_int_eq(mark_of(frame.fds[FRAME_FDS_MAX - 1]), 7);
    frame_done(&frame);

    /* One more, with a later byte: none can be trusted. */
    SEND_FDS(&pair, "too ", fds, FRAME_FDS_MAX);
    SEND_FDS(&pair, "many\0", fds, 1);
    close(fd);
    ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), -EBADMSG);
    ck_assert_str_eq(frame.text, "too many");
    ck_assert_uint_eq(frame.n_fds, 0);
    frame_done(&frame);
    SEND(&pair, "next\0");
    expect(&pair, "next", 0, 0);
    teardown(&pair);
}
END_TEST

/* In a child, because nothing else can be opened meanwhile. Its exit status tells how far it came.
 * `parent` sets the limit when it is asked to. */
static int lose_fds(int ours, struct frame_reader *reader, int parent)
{
    struct frame frame = {0};
    size_t n_before = count_open();
    char byte = 0;

    if (write(parent, &byte, 1) != 1 || read(parent, &byte, 1) != 1)
        return 1;
    /* Two of the three find a place. */
    if (frame_read(reader, ours, &frame) != -EBADMSG)
        return 2;
    if (strcmp(frame.text, "lost") != 0 || frame.n_fds != 0)
        return 3;
    frame_done(&frame);
    if (frame_read(reader, ours, &frame) != 1 || strcmp(frame.text, "kept") != 0 ||
        frame.n_fds != 1)
        return 4;
    frame_done(&frame);
    return count_open() == n_before ? 0 : 5;
}

START_TEST(test_lost_fds)
{
    struct pair pair;
    int fds[3], talk[2], status;
    char byte;

    setup(&pair);
    for (int i = 0; i < 3; i++)
        fds[i] = marked_fd(i + 1);
    SEND_FDS(&pair, "lost\0", fds, 3);
    SEND_FDS(&pair, "kept\0", fds, 1);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, talk), 0);
    int next = dup(pair.ours);
    close(next);
    pid_t child = fork();
    if (child == 0)
        _exit(lose_fds(pair.ours, pair.reader, talk[1]));
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(read(talk[0], &byte, 1), 1);
    /* From outside: valgrind only pretends to obey a limit that a process sets for itself. */
    const struct rlimit limit = {(rlim_t)next + 2, (rlim_t)next + 2};
    ck_assert_int_eq(prlimit(child, RLIMIT_NOFILE, &limit, NULL), 0);
    ck_assert_int_eq(write(talk[0], "", 1), 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    close(talk[0]);
    close(talk[1]);
    teardown(&pair);
}
END_TEST

static void send_long(struct pair *pair, size_t n_bytes, bool with_nul)
{
    char *text = malloc(n_bytes + 1);

    memset(text, 'x', n_bytes);
    text[n_bytes] = '\0';
    send_fds(pair->theirs, text, n_bytes + with_nul, NULL, 0);
    free(text);
}

START_TEST(test_long_messages)
{
    static const size_t lengths[] = {
        FRAME_PEEK_BYTES - 2, FRAME_PEEK_BYTES - 1, FRAME_PEEK_BYTES, FRAME_PEEK_BYTES + 1,
        2 * FRAME_PEEK_BYTES, MAX_BYTES - 1,        MAX_BYTES};
    struct pair pair;

    setup(&pair);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct frame frame = {0};
        send_long(&pair, lengths[i], true);
        SEND(&pair, "next\0");
        ck_assert_int_eq(frame_read(pair.reader, pair.ours, &frame), 1);
        ck_assert_uint_eq(frame.n_bytes, lengths[i]);
        ck_assert_uint_eq(strspn(frame.text, "x"), lengths[i]);
        ck_assert_uint_eq(strlen(frame.text), lengths[i]);
        ck_assert(frame_reader_more(pair.reader));
        frame_done(&frame);
        expect(&pair, "next", 0, 0);
    }
    teardown(&pair);
}
END_TEST

START_TEST(test_too_long)
{
    struct pair pair;

    for (int with_nul = 0; with_nul < 2; with_nul++) {
        setup(&pair);
        send_long(&pair, MAX_BYTES + 1, with_nul);
        expect_none(&pair, -EMSGSIZE);
        teardown(&pair);
    }

    /* The longest one without its NUL is only unfinished. */
    setup(&pair);
    send_long(&pair, MAX_BYTES, false);
    expect_none(&pair, -EAGAIN);
    SEND(&pair, "x");
    expect_none(&pair, -EMSGSIZE);
    teardown(&pair);
}
END_TEST

START_TEST(test_end_inside_message)
{
    struct pair pair;
    int fd;

    setup(&pair);
    fd = marked_fd(1);
    SEND_FDS(&pair, "whole\0", &fd, 1);
    SEND_FDS(&pair, "half", &fd, 1);
    close(fd);
    shutdown(pair.theirs, SHUT_WR);
    expect(&pair, "whole", 1, 1);
    expect_none(&pair, -ECONNRESET);
    teardown(&pair);
}
END_TEST

static char *copy_of(const char *text)
{
    char *copy = strdup(text);
    ck_assert_ptr_nonnull(copy);
    return copy;
}

static void queue(struct pair *pair, const char *text, const int *fds, size_t n_fds)
{
    ck_assert_int_eq(frame_write(pair->writer, copy_of(text), strlen(text), fds, n_fds), 0);
}

START_TEST(test_write)
{
    struct pair pair;
    char buffer[32];

    setup(&pair);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 0);
    queue(&pair, "one", NULL, 0);
    queue(&pair, "", NULL, 0);
    queue(&pair, "three", NULL, 0);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 11);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 0);
    ck_assert_int_eq(recv(pair.theirs, buffer, sizeof buffer, 0), 11);
    ck_assert_mem_eq(buffer, "one\0\0three\0", 11);
    teardown(&pair);
}
END_TEST

START_TEST(test_write_many)
{
    enum { N = 1000 };
    struct pair pair;
    char text[16];

    setup(&pair);
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "%d", i);
        queue(&pair, text, NULL, 0);
    }
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    for (int i = 0; i < N; i++) {
        struct frame frame = {0};
        snprintf(text, sizeof text, "%d", i);
        ck_assert_int_eq(frame_read(pair.reader, pair.theirs, &frame), 1);
        ck_assert_str_eq(frame.text, text);
        frame_done(&frame);
    }
    teardown(&pair);
}
END_TEST

START_TEST(test_write_to_nobody)
{
    struct pair pair;
    int fd;

    setup(&pair);
    fd = marked_fd(1);
    queue(&pair, "lost", &fd, 1);
    close(fd);
    close(pair.theirs);
    pair.theirs = -1;
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), -EPIPE); /* and no SIGPIPE */
    teardown(&pair);
}
END_TEST

START_TEST(test_write_fds)
{
    struct pair pair;
    int fds[2];

    setup(&pair);
    fds[0] = marked_fd(1);
    fds[1] = marked_fd(2);
    queue(&pair, "plain", NULL, 0);
    queue(&pair, "first", fds, 2);
    queue(&pair, "plain", NULL, 0);
    queue(&pair, "second", &fds[1], 1);
    queue(&pair, "third", fds, 1);
    close(fds[0]);
    close(fds[1]);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    ck_assert_uint_eq(count_open(), pair.n_open + 2); /* the pair alone */
    int swapped = pair.ours;
    pair.ours = pair.theirs;
    pair.theirs = swapped;
    expect(&pair, "plain", 0, 0);
    expect(&pair, "first", 2, 1);
    expect(&pair, "plain", 0, 0);
    expect(&pair, "second", 1, 2);
    expect(&pair, "third", 1, 1);
    teardown(&pair);
}
END_TEST

START_TEST(test_write_bad_fd)
{
    struct pair pair;
    int fds[2];

    setup(&pair);
    fds[0] = marked_fd(1);
    fds[1] = -1;
    ck_assert_int_eq(frame_write(pair.writer, copy_of("x"), 1, fds, 2), -EBADF);
    close(fds[0]);
    ck_assert_uint_eq(frame_writer_pending_bytes(pair.writer), 0);
    queue(&pair, "next", NULL, 0);
    ck_assert_int_eq(frame_flush(pair.writer, pair.ours), 0);
    teardown(&pair);
}
END_TEST

/* A message that the socket takes in pieces: its descriptors go once, with the first byte. */
START_TEST(test_partial_sends)
{
    enum { N_BYTES = 3 << 20 };
    struct pair pair;
    struct frame frame = {0};
    char *text = malloc(N_BYTES + 1);
    uint64_t pending_bytes;
    int fd, r, n_flushes = 0;

    setup(&pair);
    fd = marked_fd(5);
    memset(text, 'y', N_BYTES);
    text[N_BYTES] = '\0';
    queue(&pair, "before", NULL, 0);
    ck_assert_int_eq(frame_write(pair.writer, text, N_BYTES, &fd, 1), 0);
    queue(&pair, "after", &fd, 1);
    close(fd);
    pending_bytes = frame_writer_pending_bytes(pair.writer);
    ck_assert_uint_eq(pending_bytes, 7 + N_BYTES + 1 + 6);

    struct frame_reader *reader = frame_reader_new(N_BYTES);
    size_t n_messages = 0;
    do {
        r = frame_flush(pair.writer, pair.ours);
        ck_assert(r == 0 || r == -EAGAIN);
        if (r == -EAGAIN)
            ck_assert_uint_lt(frame_writer_pending_bytes(pair.writer), pending_bytes);
        pending_bytes = frame_writer_pending_bytes(pair.writer);
        n_flushes++;
        int received;
        while ((received = frame_read(reader, pair.theirs, &frame)) == 1) {
            static const size_t lengths[] = {6, N_BYTES, 5}, fds[] = {0, 1, 1};
            ck_assert_uint_eq(frame.n_bytes, lengths[n_messages]);
            ck_assert_uint_eq(frame.n_fds, fds[n_messages]);
            n_messages++;
            frame_done(&frame);
        }
        ck_assert_int_eq(received, -EAGAIN);
    } while (r != 0);
    ck_assert_uint_eq(n_messages, 3);
    ck_assert_int_gt(n_flushes, 2);
    frame_reader_free(reader);
    teardown(&pair);
}
END_TEST

START_TEST(test_free_with_pending_output)
{
    struct pair pair;
    int fd;

    setup(&pair);
    fd = marked_fd(1);
    queue(&pair, "never sent", &fd, 1);
    queue(&pair, "nor this", NULL, 0);
    close(fd);
    teardown(&pair);
    ck_assert_ptr_null(frame_reader_free(NULL));
    ck_assert_ptr_null(frame_writer_free(NULL));
    frame_done(&(struct frame){0});
}
END_TEST

static void turn_on_read_ahead(void)
{
    read_ahead = true;
}

static TCase *frame_tests(const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_one);
    tcase_add_test(tcase, test_back_to_back);
    tcase_add_test(tcase, test_partial_is_consumed);
    tcase_add_test(tcase, test_split_everywhere);
    tcase_add_test(tcase, test_byte_by_byte);
    tcase_add_test(tcase, test_fds_after_plain_message);
    tcase_add_test(tcase, test_read_ahead);
    tcase_add_test(tcase, test_random_streams);
    tcase_add_test(tcase, test_more_behind_fds);
    tcase_add_test(tcase, test_two_messages_with_one_send);
    tcase_add_test(tcase, test_split_message_with_fds);
    tcase_add_test(tcase, test_fds_never_taken);
    tcase_add_test(tcase, test_as_many_fds_as_go);
    tcase_add_test(tcase, test_lost_fds);
    tcase_add_test(tcase, test_long_messages);
    tcase_add_test(tcase, test_too_long);
    tcase_add_test(tcase, test_end_inside_message);
    tcase_add_test(tcase, test_write);
    tcase_add_test(tcase, test_write_many);
    tcase_add_test(tcase, test_write_to_nobody);
    tcase_add_test(tcase, test_write_fds);
    tcase_add_test(tcase, test_write_bad_fd);
    tcase_add_test(tcase, test_partial_sends);
    tcase_add_test(tcase, test_free_with_pending_output);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("frame");
    TCase *ahead = frame_tests("read ahead");
    tcase_add_unchecked_fixture(ahead, turn_on_read_ahead, NULL);
    suite_add_tcase(suite, frame_tests("one by one"));
    suite_add_tcase(suite, ahead);
    return run_suite(suite);
}
