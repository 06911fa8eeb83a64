/* The daemon's messages to a service manager and to the journal, and the descriptors that it
 * stores. The test's own socket replaces the manager's. */
#include "daemon/system/service_manager.h"

#include "common/log.h"
#include "tests/unit/manager_fixture.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The next datagram; datagrams have arrived when the call that sent them returns. */
static const char *notified(void)
{
    static char text[2048];
    ssize_t n = recv(manager, text, sizeof text - 1, 0);

    if (n < 0)
        return "nothing";
    text[n] = '\0';
    return text;
}

/* The same, with the descriptor that must come along; the test owns it. */
static const char *notified_with(int *ret_fd)
{
    static char text[2048];
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {0};
    struct iovec vector = {text, sizeof text - 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(manager, &message, MSG_CMSG_CLOEXEC);
    ck_assert_int_ge(n, 0);
    text[n] = '\0';
    ck_assert_int_eq(message.msg_flags & MSG_CTRUNC, 0);
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    ck_assert_ptr_nonnull(header);
    ck_assert_int_eq(header->cmsg_type, SCM_RIGHTS);
    ck_assert_uint_eq(header->cmsg_len, CMSG_LEN(sizeof(int)));
    memcpy(ret_fd, CMSG_DATA(header), sizeof *ret_fd);
    return text;
}

/* Whether the two are of one file. */
static bool is_same(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

START_TEST(says_what_a_manager_understands)
{
    service_manager_ready("50 MiB, all free");
    ck_assert_str_eq(notified(), "READY=1\nSTATUS=50 MiB, all free");
    service_manager_status("8 MiB used");
    ck_assert_str_eq(notified(), "STATUS=8 MiB used");
    service_manager_watchdog();
    ck_assert_str_eq(notified(), "WATCHDOG=1");
    service_manager_stopping();
    ck_assert_str_eq(notified(), "STOPPING=1");
    ck_assert_str_eq(notified(), "nothing");
}
END_TEST

START_TEST(reloading_has_the_monotonic_stamp)
{
    struct timespec before, after;
    uint64_t usec = 0;
    int end = 0;

    clock_gettime(CLOCK_MONOTONIC, &before);
    service_manager_reloading();
    clock_gettime(CLOCK_MONOTONIC, &after);
    const char *text = notified();
    ck_assert_int_eq(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%" SCNu64 "%n", &usec, &end), 1);
    ck_assert_int_eq(text[end], '\0');
    ck_assert_uint_ge(usec, (uint64_t)before.tv_sec * 1000000 + (uint64_t)before.tv_nsec / 1000);
    ck_assert_uint_le(usec, (uint64_t)after.tv_sec * 1000000 + (uint64_t)after.tv_nsec / 1000);
}
END_TEST

/* A status quotes names that clients chose. */
START_TEST(status_cannot_add_assignments)
{
    char longest[4096];

    service_manager_status("model a\nSTOPPING=1\rx");
    ck_assert_str_eq(notified(), "STATUS=model a STOPPING=1 x");
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    service_manager_ready(longest);
    const char *text = notified();
    ck_assert_int_eq(strncmp(text, "READY=1\nSTATUS=xxx", 18), 0);
    ck_assert_uint_lt(strlen(text), 1024);
}
END_TEST

START_TEST(without_a_manager_nothing_happens)
{
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("LISTEN_FDS");
    service_manager_ready("x");
    service_manager_status("x");
    service_manager_reloading();
    service_manager_watchdog();
    service_manager_stopping();
    ck_assert_uint_eq(service_manager_watchdog_interval_usec(), 0);
    ck_assert_int_eq(service_manager_take_fds(NULL, NULL), 0);
    setenv("FDSTORE", "4096", 1);
    ck_assert_uint_eq(service_manager_store_max(), 0);
    int fd = memory_file("x");
    ck_assert_int_eq(service_manager_store(fd, "arena"), 0);
    service_manager_unstore("arena");
    close(fd);
    unsetenv("FDSTORE");
    ck_assert_str_eq(notified(), "nothing");
}
END_TEST

START_TEST(stores_a_duplicate_under_a_name)
{
    int fd = memory_file("weights"), stored = -1;
    ck_assert_int_eq(service_manager_store(fd, "model-7"), 0);
    /* systemd would itself drop a descriptor on which poll reports an error. */
    ck_assert_str_eq(notified_with(&stored), "FDSTORE=1\nFDPOLL=0\nFDNAME=model-7");
    ck_assert_int_ne(stored, fd);
    ck_assert(is_same(stored, fd));
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC); /* the caller still owns it */
    close(stored);
    close(fd);
    service_manager_unstore("model-7");
    ck_assert_str_eq(notified(), "FDSTOREREMOVE=1\nFDNAME=model-7");
    ck_assert_str_eq(notified(), "nothing");
}
END_TEST

/* The manager kills a daemon whose watchdog's messages do not come. */
START_TEST(the_watchdog_needs_no_descriptor)
{
    struct rlimit limit;

    service_manager_status("before");
    ck_assert_str_eq(notified(), "STATUS=before");
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit none = {0, limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    service_manager_watchdog();
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_str_eq(notified(), "WATCHDOG=1");
}
END_TEST

START_TEST(storing_fails_aloud)
{
    ck_assert_int_eq(service_manager_store(-1, "arena"), -EBADF);
    int fd = memory_file("x");
    close(manager);
    unlink(address.sun_path);
    ck_assert_int_lt(service_manager_store(fd, "arena"), 0);
    close(fd);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}
END_TEST

/* Only storing waits for a manager that does not read, and only for a limited time. */
START_TEST(a_manager_that_does_not_read)
{
    enum { MORE_THAN_ITS_QUEUE = 2000 };
    for (unsigned i = 0; i < MORE_THAN_ITS_QUEUE; i++) {
        service_manager_status("x");
        service_manager_watchdog();
        service_manager_reloading();
        service_manager_stopping();
    }
    int fd = memory_file("x");
    ck_assert_int_eq(service_manager_store(fd, "arena"), -EAGAIN);
    close(fd);
}
END_TEST

START_TEST(the_store_has_the_size_that_the_manager_says)
{
    static const struct {
        const char *text;
        uint64_t max;
    } cases[] = {
        {"0", 0},
        {"1", 1},
        {"4096", 4096},
        {"", 0},
        {"many", 0},
        {"12 ", 0},
        {" 12", 0},
        {"-1", 0},
        {"+3", 0},
        {"1x", 0},
        {"0x10", 0},
        {"18446744073709551615", UINT64_MAX},
        {"18446744073709551616", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("FDSTORE", cases[i].text, 1);
        ck_assert_msg(service_manager_store_max() == cases[i].max, "\"%s\"", cases[i].text);
    }
    unsetenv("FDSTORE");
    ck_assert_uint_eq(service_manager_store_max(), 0);
}
END_TEST

START_TEST(watchdog_is_fed_twice_as_often_as_asked)
{
    char pid[32];

    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("WATCHDOG_USEC", "30000000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    ck_assert_uint_eq(service_manager_watchdog_interval_usec(), 15000000);
    setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
    ck_assert_uint_eq(service_manager_watchdog_interval_usec(), 0);
    unsetenv("WATCHDOG_PID");
    setenv("WATCHDOG_USEC", "soon", 1);
    ck_assert_uint_eq(service_manager_watchdog_interval_usec(), 0);
    unsetenv("WATCHDOG_USEC");
}
END_TEST

/* Logs one line with standard error redirected to a file, and returns the length of the file. */
static off_t logged_bytes(const char *stream_format)
{
    char name[] = "/tmp/edgemind-test-service-XXXXXX", stream[128];
    int fd = mkstemp(name), saved = dup(STDERR_FILENO);
    struct stat st;

    ck_assert_int_ge(fd, 0);
    unlink(name);
    ck_assert_int_eq(fstat(fd, &st), 0);
    snprintf(stream, sizeof stream, "%ju:%ju%s", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
             stream_format);
    setenv("JOURNAL_STREAM", stream, 1);
    dup2(fd, STDERR_FILENO);
    service_manager_log_to_journal();
    log_write(LOG_LEVEL_NOTICE, (struct log_field[]){{"EDGEMIND_TEST", "1"}}, 1, "a test's line");
    dup2(saved, STDERR_FILENO);
    close(saved);
    log_set_sink(NULL);
    unsetenv("JOURNAL_STREAM");
    ck_assert_int_eq(fstat(fd, &st), 0);
    close(fd);
    return st.st_size;
}

START_TEST(the_journal_takes_the_log_only_when_it_is_standard_error)
{
    ck_assert_int_eq(logged_bytes(""), 0);
    ck_assert_int_gt(logged_bytes("0"), 0); /* another inode */
    ck_assert_int_gt(logged_bytes(":"), 0); /* malformed */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("service");
    TCase *tcase = tcase_create("service");

    tcase_add_checked_fixture(tcase, make_manager, remove_manager);
    tcase_add_test(tcase, says_what_a_manager_understands);
    tcase_add_test(tcase, reloading_has_the_monotonic_stamp);
    tcase_add_test(tcase, status_cannot_add_assignments);
    tcase_add_test(tcase, without_a_manager_nothing_happens);
    tcase_add_test(tcase, watchdog_is_fed_twice_as_often_as_asked);
    tcase_add_test(tcase, stores_a_duplicate_under_a_name);
    tcase_add_test(tcase, storing_fails_aloud);
    tcase_add_test(tcase, the_watchdog_needs_no_descriptor);
    tcase_add_test(tcase, the_store_has_the_size_that_the_manager_says);
    tcase_add_test(tcase, the_journal_takes_the_log_only_when_it_is_standard_error);
    suite_add_tcase(suite, tcase);
    TCase *slow = tcase_create("slow");
    tcase_set_timeout(slow, 60);
    tcase_add_checked_fixture(slow, make_manager, remove_manager);
    tcase_add_test(slow, a_manager_that_does_not_read);
    suite_add_tcase(suite, slow);
    return run_suite(suite);
}
