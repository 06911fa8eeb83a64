/* A reload that waits for the list of groups, of which the test has its own. Nothing sleeps: the
 * test says what time it is. */
#include "daemon/reload.h"

#include "common/clock.h"
#include "tests/unit/config_fixture.h"
#include "tests/unit/run_suite.h"

#include <grp.h>
#include <poll.h>
#include <semaphore.h>

static struct config config;
static struct workers *workers;
static struct reload reload;
static unsigned n_applied, n_ended, n_failed;
static gid_t admin_gid;
static int result; /* of `apply` */
static sem_t asked, answered;

/* In place of the C library's. */
struct group *getgrnam(const char *name)
{
    static struct group group = {.gr_gid = 7};

    sem_post(&asked);
    sem_wait(&answered);
    return strcmp(name, "known") == 0 ? &group : NULL;
}

static int apply(gid_t gid, void *context)
{
    (void)context;
    n_applied++;
    admin_gid = gid;
    return result;
}

static void ended(bool has_failed, void *context)
{
    (void)context;
    n_ended++;
    n_failed += has_failed;
}

static void begin(void)
{
    static char program[] = "edgemindd", file[sizeof path + 16];
    static char *arguments[] = {program, file, NULL};
    enum config_action action;
    char why[CONFIG_WHY_MAX];

    set_up();
    snprintf(file, sizeof file, "--config=%s", path);
    write_file("capacity = 1M\nmodel-dir = /before\n");
    ck_assert_int_eq(config_load(2, arguments, &config, &action, why), 0);
    sem_init(&asked, 0, 0);
    sem_init(&answered, 0, 0);
    ck_assert_int_eq(workers_new(1, false, &workers), 0);
    reload = (struct reload){&config, 2, arguments, {.apply = apply, .ended = ended}};
    result = 0;
    ck_assert_int_eq(reload_first(&reload, workers), 0);
    n_applied = n_ended = n_failed = 0;
}

static void end(void)
{
    workers_free(workers);
    config_done(&config);
    unlink(path);
    rmdir(directory);
}

static void start(const char *text)
{
    write_file(text);
    reload_start(&reload);
}

static void wait_done(void)
{
    struct pollfd fd = {.fd = workers_fd(workers), .events = POLLIN};

    sem_post(&answered);
    ck_assert_int_eq(poll(&fd, 1, 60000), 1);
    workers_dispatch(workers);
}

static void expect(unsigned applied, unsigned ends, unsigned failed, const char *model_dir)
{
    ck_assert_uint_eq(n_applied, applied);
    ck_assert_uint_eq(n_ended, ends);
    ck_assert_uint_eq(n_failed, failed);
    ck_assert_str_eq(config.model_dir, model_dir);
}

#define TEXT(model_dir, group) "capacity = 1M\nmodel-dir = " model_dir "\nadmin-group = " group "\n"

START_TEST(all_or_nothing)
{
    start(TEXT("/after", "known"));
    sem_wait(&asked);
    expect(0, 0, 0, "/before");
    wait_done();
    expect(1, 1, 0, "/after");
    ck_assert_uint_eq(admin_gid, 7);

    start(TEXT("/x", "unknown"));
    wait_done();
    expect(1, 2, 1, "/after");
    result = -ENOMEM;
    start(TEXT("/x", "known"));
    wait_done();
    expect(2, 3, 2, "/after");
    start("capacity = much\n");
    wait_done();
    expect(2, 4, 3, "/after");
}
END_TEST

START_TEST(once_more)
{
    start(TEXT("/first", "known"));
    sem_wait(&asked);
    for (int i = 0; i < 3; i++)
        start(TEXT("/second", "known"));
    wait_done();
    expect(1, 0, 0, "/first");
    sem_wait(&asked);
    wait_done();
    expect(2, 1, 0, "/second");
}
END_TEST

START_TEST(no_answer)
{
    uint64_t now_usec = clock_monotonic_usec();

    start(TEXT("/late", "known"));
    sem_wait(&asked);
    for (unsigned i = 0; i < 2 + WORKERS_ABANDON_USEC / 1000000 && n_ended == 0; i++)
        workers_look(workers, now_usec += 1000000);
    expect(0, 1, 1, "/before");
    start(TEXT("/after", "known"));
    expect(0, 2, 2, "/before");

    /* What comes too late does not count, and the next reload is like any other. */
    wait_done();
    expect(0, 2, 2, "/before");
    start(TEXT("/after", "known"));
    wait_done();
    expect(1, 3, 2, "/after");
}
END_TEST

START_TEST(the_daemon_ends)
{
    start(TEXT("/after", "known"));
    reload_stop(&reload);
    wait_done();
    expect(0, 0, 0, "/before");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reload");
    TCase *tcase = tcase_create("reload");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, all_or_nothing);
    tcase_add_test(tcase, once_more);
    tcase_add_test(tcase, no_answer);
    tcase_add_test(tcase, the_daemon_ends);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
