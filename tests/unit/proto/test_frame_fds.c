/* Descriptors that come with messages: to which message they belong, and that none is lost or left
 * open. */
#include "proto/frame.h"
#include "tests/unit/case_step.h"
#include "tests/unit/frame_fixture.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

static TCase *frame_tests(const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_fds_after_plain_message);
    tcase_add_test(tcase, test_more_behind_fds);
    tcase_add_test(tcase, test_two_messages_with_one_send);
    tcase_add_test(tcase, test_split_message_with_fds);
    tcase_add_test(tcase, test_fds_never_taken);
    tcase_add_test(tcase, test_as_many_fds_as_go);
    tcase_add_test(tcase, test_lost_fds);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("frame_fds");
    TCase *ahead = frame_tests("read ahead");
    tcase_add_unchecked_fixture(ahead, turn_on_read_ahead, NULL);
    suite_add_tcase(suite, frame_tests("one by one"));
    suite_add_tcase(suite, ahead);
    return run_suite(suite);
}
