/* What threads ask of the scheduler, as the kernel reports it. */
#include "common/thread_priority.h"

#include "tests/unit/run_suite.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The slice of the calling thread; 0 if the system does not tell. */
static uint64_t slice_nsec(void)
{
    uint64_t words[6] = {0};
    ck_assert_int_eq(syscall(SYS_sched_getattr, 0, words, sizeof words, 0), 0);
    return words[3];
}

START_TEST(test_prompt)
{
    int nice_before = getpriority(PRIO_PROCESS, 0);
    uint64_t before = slice_nsec();
    bool is_prompt = thread_be_prompt();

    ck_assert_int_eq(is_prompt, before > 0);
    ck_assert_uint_eq(slice_nsec(), is_prompt ? THREAD_SLICE_USEC * 1000 : before);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER);
    ck_assert_int_eq(getpriority(PRIO_PROCESS, 0), nice_before);
}
END_TEST

START_TEST(test_background)
{
    thread_be_background();
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
    ck_assert_int_ge(getpriority(PRIO_PROCESS, 0), THREAD_BACKGROUND_NICE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("thread_priority");
    TCase *tcase = tcase_create("thread_priority");
    tcase_add_test(tcase, test_prompt);
    tcase_add_test(tcase, test_background);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
