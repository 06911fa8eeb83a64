/* Scrapers that come at once are accepted one after the other, with rests, and all are answered. */
#include "daemon/metrics/scrape_server.h"

#include "common/clock.h"
#include "tests/unit/count_open.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { N_SCRAPERS = 2 * SCRAPE_CONNECTIONS_MAX };

static bool has_no_descriptor, has_no_memory;

static struct event_base *base;
static struct sockaddr_in address; /* of the server */
static struct scrape_server *server;
static int n_formatted;

/* libevent's call. With a real limit of descriptors, valgrind would accept and lose the connection.
 */
__attribute__((visibility("default"))) int accept4(int fd, struct sockaddr *restrict peer,
                                                   socklen_t *restrict n_bytes, int flags)
{
    if (has_no_descriptor) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, peer, n_bytes, flags);
}

/* libevent's call. The kernel needs memory only to add. */
__attribute__((visibility("default"))) int epoll_ctl(int epoll, int what, int fd,
                                                     struct epoll_event *event)
{
    if (has_no_memory && what == EPOLL_CTL_ADD) {
        errno = ENOMEM;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, what, fd, event);
}

static int format(char text[static SCRAPE_TEXT_BYTES_MAX], void *context)
{
    int *n = context;
    ++*n;
    memset(text, 'x', SCRAPE_TEXT_BYTES_MAX);
    return SCRAPE_TEXT_BYTES_MAX;
}

/* Listens on a free port of loopback. */
static int listen_on_address(void)
{
    socklen_t n_bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, n_bytes), 0);
    ck_assert_int_eq(listen(fd, N_SCRAPERS), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n_bytes), 0);
    return fd;
}

static void setup(void)
{
    base = event_base_new();
    n_formatted = 0;
    ck_assert_int_eq(scrape_server_new(base, listen_on_address(), format, &n_formatted, &server),
                     0);
}

static void teardown(void)
{
    scrape_server_free(server);
    event_base_free(base);
}

static int scrape(void)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(send(fd, request, sizeof request - 1, 0), sizeof request - 1);
    return fd;
}

/* Takes what has come, and returns whether the stream has ended. */
static bool has_ended(int fd, size_t *n_bytes)
{
    static char bytes[SCRAPE_TEXT_BYTES_MAX];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        *n_bytes += (size_t)n;
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void loop_until_ended(int fd, size_t *ret_bytes)
{
    *ret_bytes = 0;
    while (!has_ended(fd, ret_bytes))
        ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
    close(fd);
}

START_TEST(test_many_at_once)
{
    int fds[N_SCRAPERS];
    size_t n_bytes[N_SCRAPERS] = {0}, n_answered = 0;

    for (int i = 0; i < N_SCRAPERS; i++)
        fds[i] = scrape();
    uint64_t began_usec = clock_monotonic_usec();
    size_t n_before, n_now = count_open();
    for (int turn = 0; turn < SCRAPE_CONNECTIONS_MAX; turn++) {
        n_before = n_now;
        ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
        n_now = count_open();
        ck_assert_uint_le(n_now, n_before + 1);
    }
    while (n_answered < N_SCRAPERS) {
        ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
        for (int i = 0; i < N_SCRAPERS; i++) {
            if (fds[i] < 0 || !has_ended(fds[i], &n_bytes[i]))
                continue;
            ck_assert_uint_gt(n_bytes[i], SCRAPE_TEXT_BYTES_MAX);
            close(fds[i]);
            fds[i] = -1;
            n_answered++;
        }
    }
    ck_assert_uint_ge(clock_monotonic_usec() - began_usec,
                      (N_SCRAPERS - 1) * SCRAPE_APART_USEC / 2);
    ck_assert_int_ge(n_formatted, 1);
}
END_TEST

/* No descriptor is free for a while. Then the scraper that waited is answered. */
START_TEST(test_no_descriptor)
{
    size_t n_bytes;

    int fd = scrape();
    has_no_descriptor = true;
    for (int turn = 0; turn < 4; turn++)
        ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
    ck_assert_int_eq(n_formatted, 0);
    has_no_descriptor = false;
    loop_until_ended(fd, &n_bytes);
    ck_assert_uint_gt(n_bytes, SCRAPE_TEXT_BYTES_MAX);
}
END_TEST

/* While it rested, the kernel ran out of memory to listen again. Who comes meanwhile is not left to
 * wait, and the next one is answered. */
START_TEST(test_no_memory_to_listen)
{
    size_t n_bytes;

    int answered = scrape();
    ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0); /* accepts it, and rests */
    has_no_memory = true;
    loop_until_ended(scrape(), &n_bytes);
    ck_assert_uint_eq(n_bytes, 0);
    has_no_memory = false;
    close(answered);
    loop_until_ended(scrape(), &n_bytes);
    ck_assert_uint_gt(n_bytes, SCRAPE_TEXT_BYTES_MAX);
}
END_TEST

/* The kernel has no memory to tell of a new connection's data. libevent then closes it, and its
 * number is somebody else's, who keeps it. */
START_TEST(test_no_memory_to_read)
{
    size_t n_bytes = 0;

    int refused = scrape();
    has_no_memory = true;
    ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
    has_no_memory = false;
    ck_assert(has_ended(refused, &n_bytes));
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    loop_until_ended(scrape(), &n_bytes);
    ck_assert_uint_gt(n_bytes, SCRAPE_TEXT_BYTES_MAX);
    server = scrape_server_free(server);
    ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0); /* libevent closes only here */
    ck_assert_int_ge(fcntl(other, F_GETFD), 0);
    close(other);
    close(refused);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scrape_server");
    TCase *tcase = tcase_create("scrape_server");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_many_at_once);
    tcase_add_test(tcase, test_no_descriptor);
    tcase_add_test(tcase, test_no_memory_to_listen);
    tcase_add_test(tcase, test_no_memory_to_read);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
