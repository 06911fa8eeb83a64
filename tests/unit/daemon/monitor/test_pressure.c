/* When pressure begins and ends: each cause, its thresholds, and the quiet time. */
#include "daemon/monitor/pressure.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <string.h>

#define MIB UINT64_C(1048576)
#define SEC UINT64_C(1000000)

static struct pressure pressure;
static struct pressure_reading now;

/* A machine of 8 GiB with half of it available, and no cgroup. */
static void setup(void)
{
    pressure = (struct pressure){.quiet_usec = PRESSURE_QUIET_USEC};
    now = (struct pressure_reading){
        .at_usec = 100 * SEC,
        .stalled_percent = 0,
        .own_stalled_percent = -1,
        .available_bytes = 4096 * MIB,
        .total_bytes = 8192 * MIB,
        .refaults = 1000,
        .limit_hits = UINT64_MAX,
        .limit_bytes = UINT64_MAX,
        .limit_free_bytes = UINT64_MAX,
    };
    ck_assert(!pressure_note(&pressure, &now));
}

static bool after(uint64_t usec)
{
    now.at_usec += usec;
    return pressure_note(&pressure, &now);
}

static void expect_none(void)
{
    ck_assert(!after(SEC));
    ck_assert_int_eq(pressure.cause, PRESSURE_NONE);
}

START_TEST(stalls)
{
    now.available_bytes = 1000 * MIB;
    now.stalled_percent = 9.99;
    expect_none();
    now.stalled_percent = 10;
    ck_assert(after(SEC));
    ck_assert_int_eq(pressure.cause, PRESSURE_STALLS);
    ck_assert_uint_eq(pressure.n_began, 1);
    ck_assert_uint_eq(pressure.began_usec, now.at_usec);
}
END_TEST

/* Containers wait at their own limits while the machine has plenty. */
START_TEST(stalls_of_others_do_not_count)
{
    now.stalled_percent = 90;
    expect_none();
    now.available_bytes = 8192 / 4 * MIB;
    expect_none();
    now.available_bytes--;
    ck_assert(after(SEC));
}
END_TEST

START_TEST(it_ends_after_quiet_time_only)
{
    now.available_bytes = 1000 * MIB;
    now.stalled_percent = 30;
    ck_assert(after(SEC));
    /* What would not begin it keeps it going. */
    now.stalled_percent = 2;
    for (unsigned i = 0; i < 100; i++)
        ck_assert(!after(SEC));
    now.stalled_percent = 1.99;
    ck_assert(!after(29 * SEC));
    now.stalled_percent = 2;
    ck_assert(!after(SEC / 2));
    now.stalled_percent = 0;
    ck_assert(!after(PRESSURE_QUIET_USEC - 1));
    ck_assert_int_eq(pressure.cause, PRESSURE_STALLS);
    ck_assert(after(1));
    ck_assert_int_eq(pressure.cause, PRESSURE_NONE);
    /* And again. */
    now.stalled_percent = 9;
    ck_assert(!after(SEC));
    now.stalled_percent = 11;
    ck_assert(after(SEC));
    ck_assert_uint_eq(pressure.n_began, 2);
}
END_TEST

START_TEST(stalls_of_the_own_cgroup)
{
    now.own_stalled_percent = 9;
    expect_none();
    now.own_stalled_percent = 10;
    ck_assert(after(SEC));
    ck_assert_int_eq(pressure.cause, PRESSURE_OWN_STALLS);
}
END_TEST

START_TEST(a_cgroup_at_its_limit)
{
    now.limit_bytes = 640 * MIB;
    now.limit_free_bytes = 10 * MIB - 1; /* a 64th */
    now.limit_hits = 7;                  /* of an earlier time */
    expect_none();
    expect_none();
    now.limit_hits = 8;
    now.limit_free_bytes = 10 * MIB; /* it only drops page cache */
    expect_none();
    now.limit_hits = 3; /* counts anew */
    now.limit_free_bytes = 0;
    expect_none();
    now.limit_hits = 4;
    ck_assert(after(SEC));
    ck_assert_int_eq(pressure.cause, PRESSURE_LIMIT);
    /* The share is capped, so that a large arena below a close limit is not always at it. */
    setup();
    now.limit_bytes = 64 * 1024 * MIB;
    now.limit_free_bytes = 16 * MIB;
    now.limit_hits = 1;
    expect_none();
    now.limit_hits = 2;
    expect_none();
    now.limit_hits = 3;
    now.limit_free_bytes--;
    ck_assert(after(SEC));
}
END_TEST

START_TEST(little_is_available)
{
    /* Not while the kernel measures stalls. */
    now.available_bytes = MIB;
    now.refaults += 100000;
    expect_none();

    setup();
    now.stalled_percent = -1;
    now.available_bytes = 8192 * MIB / 20 - 1;
    expect_none();
    now.refaults += 99;
    expect_none();
    now.refaults += 100;
    ck_assert(after(SEC));
    ck_assert_int_eq(pressure.cause, PRESSURE_AVAILABLE);
    /* More is needed to end it than to prevent it. */
    now.available_bytes = 8192 * MIB / 10 - 1;
    for (unsigned i = 0; i < 50; i++) {
        now.refaults += 100;
        ck_assert(!after(SEC));
    }
    now.available_bytes++;
    now.refaults += 100;
    ck_assert(!after(SEC));
    ck_assert(after(PRESSURE_QUIET_USEC));

    /* Nearly nothing is enough, with or without counters. */
    setup();
    now.stalled_percent = -1;
    now.refaults = UINT64_MAX;
    now.available_bytes = 8192 * MIB / 50;
    expect_none();
    now.available_bytes--;
    ck_assert(after(SEC));
}
END_TEST

START_TEST(refaults_are_a_rate)
{
    now.stalled_percent = -1;
    now.available_bytes = 300 * MIB;
    now.refaults += 999;
    ck_assert(!after(10 * SEC));
    now.refaults += 1000;
    ck_assert(after(10 * SEC));
    /* The first reading has no rate. */
    pressure = (struct pressure){.quiet_usec = PRESSURE_QUIET_USEC};
    now.refaults = 1 << 30;
    ck_assert(!after(SEC));
}
END_TEST

START_TEST(room)
{
    uint64_t reserve = 8192 * MIB / 10;
    ck_assert_uint_eq(pressure_room_bytes(&now), 4096 * MIB - reserve);
    now.limit_bytes = 640 * MIB;
    now.limit_free_bytes = 100 * MIB;
    ck_assert_uint_eq(pressure_room_bytes(&now), 90 * MIB);
    now.limit_free_bytes = 9 * MIB;
    ck_assert_uint_eq(pressure_room_bytes(&now), 0);
    now.limit_bytes = UINT64_MAX;
    now.available_bytes = reserve;
    ck_assert_uint_eq(pressure_room_bytes(&now), 0);
}
END_TEST

START_TEST(every_cause_has_words)
{
    char text[PRESSURE_TEXT_MAX];
    ck_assert_ptr_null(pressure_cause_name(PRESSURE_NONE));
    now.limit_bytes = now.limit_free_bytes = UINT64_MAX - 1;
    now.stalled_percent = now.own_stalled_percent = 100;
    for (enum pressure_cause cause = PRESSURE_NONE; cause <= PRESSURE_AVAILABLE; cause++) {
        ck_assert_uint_lt(strlen(pressure_describe(cause, &now, text)), PRESSURE_TEXT_MAX - 1);
        ck_assert(cause == PRESSURE_NONE || pressure_cause_name(cause));
    }
    ck_assert_str_eq(pressure_describe(PRESSURE_STALLS, &now, text),
                     "tasks waited for memory in 100.00% of the last 10 s");
    ck_assert_str_eq(pressure_describe(PRESSURE_AVAILABLE, &now, text),
                     "only 4.0 GiB of 8.0 GiB of memory are available");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pressure");
    TCase *tcase = tcase_create("pressure");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, stalls);
    tcase_add_test(tcase, stalls_of_others_do_not_count);
    tcase_add_test(tcase, it_ends_after_quiet_time_only);
    tcase_add_test(tcase, stalls_of_the_own_cgroup);
    tcase_add_test(tcase, a_cgroup_at_its_limit);
    tcase_add_test(tcase, little_is_available);
    tcase_add_test(tcase, refaults_are_a_rate);
    tcase_add_test(tcase, room);
    tcase_add_test(tcase, every_cause_has_words);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
