/* Reading an arena whose file was truncated: zeros instead of a signal, in every thread and view,
 * and no other SIGBUS is swallowed.
 *
 * A process sets its signal handlers once, so cases about handlers run in separate processes,
 * before the first map. The whole test runs in a second process if possible. Valgrind does not
 * follow into that process; it does not keep all registers for code that continues after a fault
 * (except with --vex-iropt-register-updates). */
#include "client/library/arena_map.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 16, READERS = 4 };

static size_t page;
static int file;
static struct arena_map *map;

/* The file is full of ones. */
static bool begin(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *bytes = malloc(PAGES * page);
    memset(bytes, 1, PAGES * page);
    file = memfd_create("test-arena-fault", MFD_CLOEXEC);
    bool good = write(file, bytes, PAGES * page) == (ssize_t)(PAGES * page) &&
                arena_map_new(dup(file), PAGES * page, &map) == 0;
    free(bytes);
    return good;
}

static void setup(void)
{
    ck_assert(begin());
}

static void teardown(void)
{
    map = arena_map_unref(map);
    close(file);
}

static size_t sum(const struct arena_range *range, size_t n_bytes)
{
    const volatile unsigned char *bytes = range->data;
    size_t total = 0;

    for (size_t i = 0; i < n_bytes; i++)
        total += bytes[i];
    return total;
}

START_TEST(zeros_after_the_end)
{
    const struct arena_segment low = {5, page}, high = {8 * page, 2 * page},
                               apart[] = {{12 * page, page}, {2 * page, 9}};
    struct arena_range ranges[3], late;

    ck_assert_int_eq(arena_range_init(&ranges[0], map, &low, 1), 0);
    ck_assert_int_eq(arena_range_init(&ranges[1], map, &high, 1), 0);
    ck_assert_int_eq(arena_range_init(&ranges[2], map, apart, 2), 0);
    ck_assert_int_eq(ftruncate(file, (off_t)(4 * page)), 0);
    ck_assert(!arena_range_is_lost(&ranges[0]));
    ck_assert(arena_range_is_lost(&ranges[1]));
    ck_assert(arena_range_is_lost(&ranges[2]));
    ck_assert(!arena_map_is_lost(map)); /* no thread has read there yet */
    ck_assert(arena_map_is_of(map, file));
    ck_assert_uint_eq(sum(&ranges[0], page), page);

    errno = EDOM;
    ck_assert_uint_eq(sum(&ranges[2], page + 9), 0);
    ck_assert_int_eq(errno, EDOM);
    ck_assert(arena_map_is_lost(map));
    ck_assert(arena_range_is_lost(&ranges[0])); /* all of it */
    ck_assert(!arena_map_is_of(map, file));
    ck_assert_uint_eq(sum(&ranges[1], 2 * page), 0);
    ck_assert_uint_eq(sum(&ranges[0], page), 0);

    /* It stays lost, even if the file grows again. */
    ck_assert_int_eq(ftruncate(file, (off_t)(PAGES * page)), 0);
    ck_assert_int_eq(arena_range_init(&late, map, &low, 1), -ENODATA);
    ck_assert_int_eq(arena_range_init(&late, map, apart, 2), -ENODATA);
    for (int i = 0; i < 3; i++)
        arena_range_done(&ranges[i]);
}
END_TEST

/* Only the map whose reader went beyond the end is lost. */
START_TEST(maps_apart)
{
    const struct arena_segment segment = {0, page};
    struct arena_map *other;
    struct arena_range range;

    ck_assert_int_eq(arena_map_new(dup(file), PAGES * page, &other), 0);
    ck_assert_int_eq(arena_range_init(&range, other, &segment, 1), 0);
    ck_assert_int_eq(ftruncate(file, 0), 0);
    ck_assert_uint_eq(sum(&range, page), 0);
    ck_assert(arena_map_is_lost(other));
    ck_assert(!arena_map_is_lost(map));
    arena_range_done(&range);
    arena_map_unref(other);
}
END_TEST

/* Entries of the table are reused, and old ranges are not guarded. */
START_TEST(many_maps)
{
    const struct arena_segment apart[] = {{4 * page, page}, {0, page}};
    struct arena_map *maps[64];
    struct arena_range range;

    for (int round = 0; round < 100; round++) {
        for (size_t i = 0; i < 64; i++) {
            ck_assert_int_eq(arena_map_new(dup(file), PAGES * page, &maps[i]), 0);
            ck_assert_int_eq(arena_range_init(&range, maps[i], apart, 2), 0);
            if (i % 2 == 0)
                arena_range_done(&range);
            else
                arena_map_unref(maps[i]); /* the range keeps it */
            if (i % 2 == 1)
                arena_range_done(&range);
        }
        for (size_t i = 0; i < 64; i += 2)
            arena_map_unref(maps[i]);
    }
    ck_assert_int_eq(arena_range_init(&range, map, apart, 2), 0);
    ck_assert_int_eq(ftruncate(file, 0), 0);
    ck_assert_uint_eq(sum(&range, 2 * page), 0);
    ck_assert(arena_map_is_lost(map));
    arena_range_done(&range);
}
END_TEST

static atomic_uint n_ready, n_done;

/* Reads until the arena is lost. */
static void *read_on(void *argument)
{
    const struct arena_range *range = argument;

    atomic_fetch_add(&n_ready, 1);
    while (sum(range, 4 * page) > 0)
        ;
    atomic_fetch_add(&n_done, 1);
    return NULL;
}

/* Threads that map and unmap meanwhile do no harm. */
START_TEST(readers_in_threads)
{
    const struct arena_segment whole = {0, 4 * page},
                               apart[] = {{8 * page, 2 * page}, {4 * page, 2 * page}},
                               others[] = {{2 * page, page}, {0, page}};
    struct arena_range ranges[2], range;
    pthread_t threads[READERS];

    atomic_store(&n_ready, 0);
    atomic_store(&n_done, 0);
    ck_assert_int_eq(arena_range_init(&ranges[0], map, &whole, 1), 0);
    ck_assert_int_eq(arena_range_init(&ranges[1], map, apart, 2), 0);
    for (size_t i = 0; i < READERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_on, &ranges[i % 2]), 0);
    while (atomic_load(&n_ready) < READERS)
        ;
    ck_assert_int_eq(ftruncate(file, 0), 0);
    do {
        int fd = memfd_create("other", MFD_CLOEXEC);
        struct arena_map *other;
        ck_assert_int_eq(ftruncate(fd, (off_t)(PAGES * page)), 0);
        ck_assert_int_eq(arena_map_new(fd, PAGES * page, &other), 0);
        ck_assert_int_eq(arena_range_init(&range, other, others, 2), 0);
        arena_map_unref(other);
        arena_range_done(&range);
    } while (atomic_load(&n_done) < READERS);
    for (size_t i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert(arena_map_is_lost(map));
    for (int i = 0; i < 2; i++)
        arena_range_done(&ranges[i]);
}
END_TEST

/* The cases that need a separate process. */

static sigjmp_buf back;
static volatile sig_atomic_t n_signals;
static void *volatile address;

static void on_signal(int number)
{
    n_signals++;
    siglongjmp(back, number);
}

static void on_information(int number, siginfo_t *info, void *context)
{
    address = info->si_addr;
    (void)context;
    on_signal(number);
}

static void on_raised(int number)
{
    (void)number;
    n_signals++;
}

/* Beyond the end of a file that is no arena. */
static volatile char *nowhere(void)
{
    int fd = memfd_create("no-arena", MFD_CLOEXEC);
    volatile char *bytes = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    return bytes;
}

/* Reads beyond the arena's end give zeros. */
static bool is_guarded(void)
{
    struct arena_range range;

    if (!begin() || arena_range_init(&range, map, &(struct arena_segment){page, page}, 1) < 0 ||
        ftruncate(file, 0) < 0)
        return false;
    bool good = sum(&range, page) == 0 && arena_map_is_lost(map);
    arena_range_done(&range);
    return good;
}

static int no_action(void)
{
    return is_guarded() ? nowhere()[0] : 1;
}

static int no_action_raised(void)
{
    return is_guarded() ? raise(SIGBUS) : 1;
}

static int ignored(void)
{
    signal(SIGBUS, SIG_IGN);
    if (!is_guarded() || raise(SIGBUS) != 0)
        return 1;
    return nowhere()[0];
}

/* 0 if the previous action gets each SIGBUS except the arena's. */
static int passed_on(const struct sigaction *action)
{
    sigaction(SIGBUS, action, NULL);
    if (!is_guarded() || n_signals > 0)
        return 1;
    volatile char *bytes = nowhere();
    for (volatile int i = 1; i <= 3; i++) {
        if (sigsetjmp(back, 1) == 0)
            return bytes[3] + 2;
        if (n_signals != i)
            return 3;
    }
    return (action->sa_flags & SA_SIGINFO) && address != bytes + 3 ? 4 : 0;
}

static int plain_handler(void)
{
    return passed_on(&(struct sigaction){.sa_handler = on_signal});
}

static int handler_with_information(void)
{
    return passed_on(&(struct sigaction){.sa_sigaction = on_information, .sa_flags = SA_SIGINFO});
}

static int handler_on_a_stack_of_its_own(void)
{
    stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    sigaltstack(&stack, NULL);
    return passed_on(
        &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_NODEFER});
}

static int handler_raised(void)
{
    signal(SIGBUS, on_raised);
    return is_guarded() && raise(SIGBUS) == 0 && raise(SIGBUS) == 0 && n_signals == 2 ? 0 : 1;
}

static const struct {
    const char *name;
    int (*function)(void);
    bool is_killed; /* by SIGBUS */
} alone[] = {
    {"no_action", no_action, true},
    {"no_action_raised", no_action_raised, true},
    {"ignored", ignored, true},
    {"plain_handler", plain_handler, false},
    {"handler_with_information", handler_with_information, false},
    {"handler_on_a_stack_of_its_own", handler_on_a_stack_of_its_own, false},
    {"handler_raised", handler_raised, false},
};

START_TEST(other_signals)
{
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        signal(SIGBUS, SIG_DFL); /* a sanitizer may have one */
        _exit(alone[_i].function());
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (alone[_i].is_killed)
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%s: status %#x",
                      alone[_i].name, (unsigned)status);
    else
        ck_assert_msg(status == 0, "%s: status %#x", alone[_i].name, (unsigned)status);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 1)
        execl(argv[0], argv[0], "again", (char *)NULL);

    Suite *suite = suite_create("arena_fault");
    TCase *first = tcase_create("signals"), *tests = tcase_create("arena_fault");

    tcase_add_loop_test(first, other_signals, 0, (int)(sizeof alone / sizeof *alone));
    suite_add_tcase(suite, first);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, zeros_after_the_end);
    tcase_add_test(tests, maps_apart);
    tcase_add_test(tests, many_maps);
    tcase_add_test(tests, readers_in_threads);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
