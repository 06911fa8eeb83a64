/* The descriptors that a service manager passes: sockets, stored files, and others. */
#include "daemon/system/service_manager.h"

#include "tests/unit/manager_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

enum { FIRST_PASSED = 3, TAKEN_MAX = 8, FD_MAX = 16 };

struct taken {
    struct {
        int fd;
        enum service_fd kind;
        char name[32];
    } fds[TAKEN_MAX];
    int n, fail_at;
};

static int take(enum service_fd kind, int fd, const char *name, void *context)
{
    struct taken *taken = context;

    if (taken->n == TAKEN_MAX)
        abort();
    taken->fds[taken->n].fd = fd;
    taken->fds[taken->n].kind = kind;
    snprintf(taken->fds[taken->n].name, sizeof taken->fds[taken->n].name, "%s", name);
    if (taken->n++ == taken->fail_at) {
        close(fd);
        return -EMFILE;
    }
    return 0;
}

static bool took(const struct taken *taken, int i, int fd, enum service_fd kind, const char *name)
{
    return i < taken->n && taken->fds[i].fd == fd && taken->fds[i].kind == kind &&
           strcmp(taken->fds[i].name, name) == 0;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* Passes `n_fds` of `fds` and exits with the result of `check`, in a child, because the protocol
 * fixes the descriptors' numbers. Closes them afterwards. */
static void with_passed(const int *fds, int n_fds, const char *names, bool (*check)(void))
{
    fflush(NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        char text[32];
        int kept[TAKEN_MAX];
        if (n_fds > TAKEN_MAX)
            abort();
        for (int i = 0; i < n_fds; i++)
            kept[i] = fcntl(fds[i], F_DUPFD, FD_MAX);
        for (int i = 0; i < n_fds; i++)
            dup2(kept[i], FIRST_PASSED + i);
        snprintf(text, sizeof text, "%d", (int)getpid());
        setenv("LISTEN_PID", text, 1);
        snprintf(text, sizeof text, "%d", n_fds);
        setenv("LISTEN_FDS", text, 1);
        if (names)
            setenv("LISTEN_FDNAMES", names, 1);
        _exit(check() ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    for (int i = 0; i < n_fds; i++)
        close(fds[i]);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}

static int listening_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX},
                          sizeof(sa_family_t)),
                     0); /* the kernel chooses a name */
    ck_assert_int_eq(listen(fd, 1), 0);
    return fd;
}

static bool check_sockets(void)
{
    struct taken taken = {.fail_at = -1};

    return service_manager_take_fds(take, &taken) == 0 && taken.n == 2 &&
           took(&taken, 0, 3, SERVICE_LISTENING, "varlink") &&
           took(&taken, 1, 6, SERVICE_CONNECTED, "connection") && fcntl(3, F_GETFD) == FD_CLOEXEC &&
           !is_open(4) && !is_open(5) && is_open(6) && !is_open(7) && !getenv("LISTEN_FDS") &&
           !getenv("LISTEN_PID") && !getenv("LISTEN_FDNAMES") &&
           service_manager_take_fds(take, &taken) == 0 && taken.n == 2; /* not a second time */
}

START_TEST(of_sockets_takes_unix_stream_ones_only)
{
    int pair[2], others[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(pipe2(others, O_CLOEXEC), 0);
    int listening = listening_socket();
    int unconnected = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    with_passed((int[]){listening, dup(manager), others[0], pair[0], unconnected}, 5,
                "varlink:notify:pipe:connection:", check_sockets);
    close(pair[1]);
    close(others[1]);
}
END_TEST

static bool check_stored(void)
{
    struct taken taken = {.fail_at = -1};
    char text[8] = "";

    return service_manager_take_fds(take, &taken) == 0 && taken.n == 4 &&
           took(&taken, 0, 3, SERVICE_STORED, "arena") &&
           took(&taken, 1, 4, SERVICE_STORED, "model-1") &&
           took(&taken, 2, 5, SERVICE_LISTENING, "varlink") && !is_open(6) && !is_open(7) &&
           took(&taken, 3, 8, SERVICE_STORED, "model-1") && is_open(3) && is_open(4) &&
           is_open(8) && fcntl(3, F_GETFD) == FD_CLOEXEC && pread(3, text, sizeof text, 0) == 5 &&
           memcmp(text, "arena", 5) == 0 && pread(8, text, sizeof text, 0) == 6 &&
           memcmp(text, "second", 6) == 0;
}

/* In their order, beside a socket; neither a directory nor a device is a stored file. */
START_TEST(takes_stored_files_by_name)
{
    int arena = memory_file("arena"), first = memory_file("first"), second = memory_file("second");
    int listening = listening_socket();
    int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int device = open("/dev/null", O_RDWR | O_CLOEXEC);

    ck_assert(folder >= 0 && device >= 0);
    with_passed((int[]){arena, first, listening, folder, device, second}, 6,
                "arena:model-1:varlink:arena:ledger:model-1", check_stored);
}
END_TEST

static bool check_nameless(void)
{
    struct taken taken = {.fail_at = -1};

    return service_manager_take_fds(take, &taken) == 0 && taken.n == 2 &&
           took(&taken, 0, 3, SERVICE_STORED, "unknown") && /* sd_listen_fds_with_names(3) */
           took(&taken, 1, 4, SERVICE_LISTENING, "unknown");
}

START_TEST(takes_what_has_no_name)
{
    int file = memory_file("x"), listening = listening_socket();

    with_passed((int[]){file, listening}, 2, NULL, check_nameless);
}
END_TEST

static bool check_other_names(void)
{
    struct taken taken = {.fail_at = -1};

    return service_manager_take_fds(take, &taken) < 0 && taken.n == 0;
}

START_TEST(refuses_fewer_names_than_descriptors)
{
    int a = memory_file("x"), b = memory_file("y");

    with_passed((int[]){a, b}, 2, "arena", check_other_names);
}
END_TEST

static bool check_failure(void)
{
    struct taken taken = {.fail_at = 0};

    return service_manager_take_fds(take, &taken) == -EMFILE && taken.n == 1 && !is_open(3) &&
           !is_open(4) && !is_open(5);
}

START_TEST(closes_the_rest_when_taking_fails)
{
    int a = listening_socket(), b = listening_socket(), c = memory_file("x");

    with_passed((int[]){a, b, c}, 3, "varlink:varlink:arena", check_failure);
}
END_TEST

static bool check_malformed(void)
{
    struct taken taken = {.fail_at = -1};

    setenv("LISTEN_FDS", "many", 1);
    bool refused = service_manager_take_fds(take, &taken) < 0;
    setenv("LISTEN_FDS", "1", 1);
    setenv("LISTEN_PID", "1", 1); /* meant for another process */
    return refused && service_manager_take_fds(take, &taken) == 0 && taken.n == 0 && is_open(3);
}

START_TEST(refuses_a_malformed_environment)
{
    int fd = listening_socket();

    with_passed(&fd, 1, "varlink", check_malformed);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("passed_descriptors");
    TCase *tcase = tcase_create("passed_descriptors");
    tcase_add_checked_fixture(tcase, make_manager, remove_manager);
    tcase_add_test(tcase, of_sockets_takes_unix_stream_ones_only);
    tcase_add_test(tcase, takes_stored_files_by_name);
    tcase_add_test(tcase, takes_what_has_no_name);
    tcase_add_test(tcase, refuses_fewer_names_than_descriptors);
    tcase_add_test(tcase, closes_the_rest_when_taking_fails);
    tcase_add_test(tcase, refuses_a_malformed_environment);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
