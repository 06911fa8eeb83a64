/* Scrapers that come at once are accepted one after the other, with rests, and all are answered. */
#include "daemon/metrics/scrape_server.h"

#include "common/clock.h"
#include "tests/unit/count_open.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { N_SCRAPERS = 2 * SCRAPE_CONNECTIONS_MAX };

static bool has_no_descriptor;

/* libevent's call. With a real limit of descriptors, valgrind would accept and lose the connection.
 */
__attribute__((visibility("default"))) int accept4(int fd, struct sockaddr *restrict address,
                                                   socklen_t *restrict n_bytes, int flags)
{
    if (has_no_descriptor) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, address, n_bytes, flags);
}

static int format(char text[static SCRAPE_TEXT_BYTES_MAX], void *context)
{
    int *n_formatted = context;
    ++*n_formatted;
    memset(text, 'x', SCRAPE_TEXT_BYTES_MAX);
    return SCRAPE_TEXT_BYTES_MAX;
}

/* Listens on a free port of loopback. */
static int listen_on(struct sockaddr_in *ret_address)
{
    socklen_t n_bytes = sizeof *ret_address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *ret_address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)ret_address, n_bytes), 0);
    ck_assert_int_eq(listen(fd, N_SCRAPERS), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret_address, &n_bytes), 0);
    return fd;
}

static void scrape(const struct sockaddr_in *address, int fds[static N_SCRAPERS])
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    for (int i = 0; i < N_SCRAPERS; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(connect(fds[i], (const struct sockaddr *)address, sizeof *address), 0);
        ck_assert_int_eq(send(fds[i], request, sizeof request - 1, 0), sizeof request - 1);
    }
}

/* Takes what has come, and returns whether the stream has ended. */
static bool has_ended(int fd, size_t *n_bytes)
{
    static char bytes[SCRAPE_TEXT_BYTES_MAX];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        *n_bytes += (size_t)n;
    return n == 0;
}

START_TEST(test_many_at_once)
{
    struct event_base *base = event_base_new();
    struct sockaddr_in address;
    struct scrape_server *server;
    int fds[N_SCRAPERS], n_formatted = 0;
    size_t n_bytes[N_SCRAPERS] = {0}, n_answered = 0;

    ck_assert_int_eq(scrape_server_new(base, listen_on(&address), format, &n_formatted, &server),
                     0);
    scrape(&address, fds);
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
    scrape_server_free(server);
    event_base_free(base);
}
END_TEST

/* No descriptor is free for a while. Then the scraper that waited is answered. */
START_TEST(test_no_descriptor)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    struct event_base *base = event_base_new();
    struct sockaddr_in address;
    struct scrape_server *server;
    int n_formatted = 0;
    size_t n_bytes = 0;

    ck_assert_int_eq(scrape_server_new(base, listen_on(&address), format, &n_formatted, &server),
                     0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(send(fd, request, sizeof request - 1, 0), sizeof request - 1);
    has_no_descriptor = true;
    for (int turn = 0; turn < 4; turn++)
        ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
    ck_assert_int_eq(n_formatted, 0);
    has_no_descriptor = false;
    while (!has_ended(fd, &n_bytes))
        ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
    ck_assert_uint_gt(n_bytes, SCRAPE_TEXT_BYTES_MAX);
    close(fd);
    scrape_server_free(server);
    event_base_free(base);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scrape_server");
    TCase *tcase = tcase_create("scrape_server");
    tcase_add_test(tcase, test_many_at_once);
    tcase_add_test(tcase, test_no_descriptor);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
