/* A client's lock lasts as long as its descriptor or a mapping of it. */
#include "daemon/arena/client_locks.h"

#include "common/arena_locks.h"
#include "tests/unit/run_suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static int arena;

static void set_up(void)
{
    arena = memfd_create("arena", MFD_CLOEXEC);
    ck_assert_int_eq(ftruncate(arena, 4096), 0);
}

static void tear_down(void)
{
    close(arena);
}

static int open_for_client(uint64_t id)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", arena);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(client_lock_take(fd, id), 0);
    return fd;
}

static bool is_held(uint64_t first, uint64_t last)
{
    return client_locks_are_held(arena, first, last);
}

START_TEST(a_mapping_keeps_the_lock)
{
    uint64_t id = UINT64_C(1) << 50;

    ck_assert(!is_held(ARENA_LOCK_CLIENTS, INT64_MAX - 1));
    int fd = open_for_client(id), other = open_for_client(id + 2);
    ck_assert(is_held(id, id) && is_held(ARENA_LOCK_CLIENTS, id) && is_held(id + 2, id + 2));
    ck_assert(!is_held(ARENA_LOCK_CLIENTS, id - 1) && !is_held(id + 1, id + 1));
    ck_assert(!is_held(id + 1, id)); /* nobody */
    void *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(at, MAP_FAILED);
    close(fd);
    close(other);
    ck_assert(is_held(id, id) && !is_held(id + 2, id + 2));
    ck_assert_int_eq(munmap(at, 4096), 0);
    ck_assert(!is_held(id, id));
}
END_TEST

START_TEST(an_end_asks_the_clients)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};

    ck_assert(client_locks_end(arena, 0));
    int fd = open_for_client(7);
    ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
    ck_assert_int_eq(lock.l_type, F_UNLCK);
    ck_assert(!client_locks_end(arena, 1));
    lock = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
    ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
    ck_assert_int_eq(lock.l_type, F_WRLCK);
    close(fd);
    ck_assert(client_locks_end(arena, 0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_locks");
    TCase *tests = tcase_create("client_locks");

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_mapping_keeps_the_lock);
    tcase_add_test(tests, an_end_asks_the_clients);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
