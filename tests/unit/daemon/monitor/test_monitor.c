/* Samples of this process, and of an arena that changes without the ledger's knowledge. */
#include "daemon/monitor/monitor.h"
#include "tests/unit/huge_page_pool.h"
#include "tests/unit/monitor_fixture.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/wait.h>

START_TEST(a_committed_arena_is_aligned)
{
    make(50 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    watch("/proc");
    ck_assert_uint_eq(monitor_n_samples(monitor), 0);
    const struct sample *s = sample();
    ck_assert_uint_eq(s->arena_file_bytes, 50 * MIB);
    ck_assert_uint_eq(s->ledger_bytes, 50 * MIB);
    ck_assert_int_eq(s->drift_bytes, 0);
    ck_assert_uint_eq(s->arena_swapped_bytes, 0);
    ck_assert(s->aligned);
    uint64_t slack = 64 * page * (uint64_t)sysconf(_SC_NPROCESSORS_CONF);
    ck_assert_uint_ge(s->rss_shmem_bytes + slack, 50 * MIB);
    ck_assert_uint_le(s->rss_shmem_bytes, 50 * MIB + slack);
    ck_assert_uint_eq(s->arena_rss_bytes, s->rss_shmem_bytes + s->hugetlb_bytes);
    ck_assert_uint_eq(s->rss_bytes, s->arena_rss_bytes + s->overhead_bytes);
    ck_assert_uint_gt(s->overhead_bytes, 0);
    ck_assert_uint_gt(s->rss_anon_bytes, 0);
    ck_assert_uint_gt(s->rss_file_bytes, 0);
    ck_assert_uint_ge(s->peak_rss_bytes + slack, s->rss_bytes);
    ck_assert_uint_gt(s->available_bytes, 0);
    ck_assert_uint_gt(s->sampled_at_usec, UINT64_C(1600000000) * 1000000);
    ck_assert(s->cpu_percent >= 0);
    ck_assert(s->pressure_avg10 >= 0 || access("/proc/pressure/memory", R_OK) < 0);
    sample();
    ck_assert_ptr_null(monitor_free(NULL));
}
END_TEST

START_TEST(without_an_arena)
{
    watch("/proc");
    const struct sample *s = sample();
    ck_assert_uint_eq(s->arena_file_bytes, 0);
    ck_assert_int_eq(s->drift_bytes, 0);
    ck_assert_uint_gt(s->rss_bytes, 0);
    ck_assert(s->aligned);
}
END_TEST

START_TEST(loads_in_flight_are_allowed_for)
{
    make(50 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD);
    watch("/proc");
    ck_assert(sample()->aligned);
    grow_and_commit(10 * MIB);
    uint64_t new_bytes;
    ck_assert_int_eq(backing_grow(backing, 30 * MIB, &new_bytes), 0);
    for (uint64_t written = 0; written <= new_bytes; written += 5 * MIB) {
        ck_assert_int_eq(backing_populate(backing, 10 * MIB, written), 0);
        const struct sample *s = sample();
        ck_assert_uint_eq(s->ledger_bytes, 10 * MIB);
        ck_assert_uint_eq(s->arena_file_bytes, 10 * MIB + written);
        ck_assert_int_eq(s->drift_bytes, 0);
        ck_assert(s->aligned);
    }
    backing_committed(backing, new_bytes);
    ck_assert_uint_eq(sample()->ledger_bytes, 30 * MIB);
    ck_assert(monitor_last(monitor)->aligned);
}
END_TEST

/* A load that reports more than it has committed. */
START_TEST(missing_pages_are_seen)
{
    make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD);
    watch("/proc");
    uint64_t new_bytes;
    ck_assert_int_eq(backing_grow(backing, 4 * MIB, &new_bytes), 0);
    ck_assert_int_eq(backing_populate(backing, 0, 3 * MIB), 0);
    backing_committed(backing, new_bytes);
    expect_drift(-(int64_t)MIB, false);
}
END_TEST

START_TEST(hidden_pages_are_seen)
{
    make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD);
    watch("/proc");
    grow_and_commit(MIB);
    ck_assert(sample()->aligned);
    char *bytes = calloc(1, page);
    ck_assert_ptr_nonnull(bytes);
    /* One page is within the tolerance, but is reported. */
    ck_assert_int_eq(pwrite(backing_fd(backing), bytes, page, 2 << 20), page);
    expect_drift((int64_t)page, true);
    ck_assert_int_eq(pwrite(backing_fd(backing), bytes, page, 3 << 20), page);
    expect_drift(2 * (int64_t)page, false);
    free(bytes);
    /* They are gone again. */
    ck_assert_int_eq(ftruncate(backing_fd(backing), 1 << 20), 0);
    expect_drift(0, true);
}
END_TEST

/* As a client that reads a hole of a longer file. */
START_TEST(pages_that_another_process_committed_are_seen)
{
    make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_LOAD);
    watch("/proc");
    grow_and_commit(MIB);
    ck_assert_int_eq(ftruncate(backing_fd(backing), 4 << 20), 0);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        unsigned sum = 0;
        for (uint64_t i = 2 * MIB; i < 3 * MIB; i += 4096) /* no page is smaller */
            sum += *(volatile unsigned char *)(backing_base(backing) + i);
        monitor_free(monitor);
        backing_free(backing);
        _exit(sum != 0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    expect_drift((int64_t)MIB, false);
}
END_TEST

START_TEST(holes_are_seen)
{
    make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    watch("/proc");
    ck_assert_int_eq(fallocate(backing_fd(backing), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               1 << 20, 2 << 20),
                     0);
    expect_drift(-2 * (int64_t)MIB, false);
    ck_assert_int_eq(backing_populate(backing, MIB, 2 * MIB), 0);
    expect_drift(0, true);
}
END_TEST

/* In RssShmem, other shared memory looks like the arena. */
START_TEST(foreign_shared_memory_is_seen)
{
    make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    watch("/proc");
    void *other = mmap(NULL, 32 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(other, MAP_FAILED);
    memset(other, 1, 32 * MIB);
    expect_drift(0, false);
    munmap(other, 32 * MIB);
    ck_assert(sample()->aligned);
}
END_TEST

/* A real swap file of 16 MiB. The parent makes it and always removes it. */
static char swap_file[sizeof scratch + 8];

static void make_swap(void)
{
    enum { N_PAGES = 4096 };
    setup();
    make_scratch();
    snprintf(swap_file, sizeof swap_file, "%s/swap", scratch);
    _cleanup_(closep) int fd = open(swap_file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    unsigned char *block = calloc(1, page);
    bool written = fd >= 0 && block;
    for (unsigned i = 0; written && i < N_PAGES; i++)
        written = write(fd, block, page) == (ssize_t)page;
    if (written) {
        /* swapon's header: version, last page, number of bad pages; the magic ends the page. */
        uint32_t header[3] = {1, N_PAGES - 1, 0};
        memcpy(block + 1024, header, sizeof header);
        memcpy(block + page - 10, "SWAPSPACE2", 10);
        written = pwrite(fd, block, page, 0) == (ssize_t)page && fsync(fd) == 0;
    }
    free(block);
    if (!written || swapon(swap_file, 0) < 0)
        *swap_file = '\0';
}

static void remove_swap(void)
{
    if (*swap_file)
        ck_assert_int_eq(swapoff(swap_file), 0);
    remove_scratch();
}

START_TEST(a_swapped_arena_is_seen)
{
    if (!*swap_file) {
        printf("skipped: no swap file can be used here\n");
        return;
    }
    make(8 * MIB, HUGE_PAGES_NEVER, COMMIT_BOOT);
    watch("/proc");
    memset(backing_base(backing), 1, 8 * MIB);
    ck_assert(sample()->aligned);
    ck_assert_int_eq(madvise(backing_base(backing), 8 * MIB, MADV_PAGEOUT), 0);
    const struct sample *s = sample();
    if (s->arena_rss_bytes > 4 * MIB) {
        printf("skipped: the kernel did not swap the arena out\n");
    } else {
        ck_assert_uint_gt(s->arena_swapped_bytes, 4 * MIB);
        ck_assert(!s->aligned);
        ck_assert_int_eq(backing_populate(backing, 0, 8 * MIB), 0);
        ck_assert(sample()->aligned);
        ck_assert_uint_eq(monitor_last(monitor)->arena_swapped_bytes, 0);
    }
}
END_TEST

START_TEST(reserved_huge_pages_count_as_the_arenas)
{
    const struct backing_config config = {8 * MIB, HUGE_PAGES_RESERVED, COMMIT_LOAD, false};
    char why[BACKING_WHY_MAX];
    if (!enlarge_pool(4) || backing_new(&config, &backing, why) < 0) {
        printf("skipped: no pool of reserved huge pages can be made here\n");
        return;
    }
    watch("/proc");
    grow_and_commit(4 * MIB);
    const struct sample *s = sample();
    ck_assert_uint_eq(s->hugetlb_bytes, 4 * MIB);
    ck_assert_uint_eq(s->arena_file_bytes, 4 * MIB);
    ck_assert_int_eq(s->drift_bytes, 0);
    ck_assert_uint_ge(s->rss_bytes, 4 * MIB);
    ck_assert(s->aligned);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("monitor");
    TCase *real = tcase_create("real");
    tcase_add_checked_fixture(real, setup, stop);
    tcase_set_timeout(real, 120);
    tcase_add_test(real, a_committed_arena_is_aligned);
    tcase_add_test(real, without_an_arena);
    tcase_add_test(real, loads_in_flight_are_allowed_for);
    tcase_add_test(real, missing_pages_are_seen);
    tcase_add_test(real, hidden_pages_are_seen);
    tcase_add_test(real, pages_that_another_process_committed_are_seen);
    tcase_add_test(real, holes_are_seen);
    tcase_add_test(real, foreign_shared_memory_is_seen);
    suite_add_tcase(suite, real);
    TCase *swap = tcase_create("swap");
    tcase_add_checked_fixture(swap, setup, stop);
    tcase_set_timeout(swap, 120);
    tcase_add_unchecked_fixture(swap, make_swap, remove_swap);
    tcase_add_test(swap, a_swapped_arena_is_seen);
    suite_add_tcase(suite, swap);
    TCase *reserved = tcase_create("reserved");
    tcase_add_checked_fixture(reserved, setup, stop);
    tcase_add_unchecked_fixture(reserved, save_pool, restore_pool);
    tcase_add_test(reserved, reserved_huge_pages_count_as_the_arenas);
    suite_add_tcase(suite, reserved);
    return run_suite(suite);
}
