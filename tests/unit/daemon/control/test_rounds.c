/* The order of turns: root, then users, then their participants; and the end of a round. */
#include "daemon/control/rounds.h"

#include "common/clock.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { N_PARTICIPANTS = 8, ENDLESS_USEC = 1 << 30 };

static struct fixture {
    struct event_base *base;
    struct rounds *rounds;
    struct participant all[N_PARTICIPANTS];
    char order[64]; /* a digit for the participant of each turn */
    bool wants_more;
    uint64_t works_usec;
} fixture;

static void serve(struct participant *participant)
{
    size_t n = strlen(fixture.order);

    ck_assert_uint_lt(n, sizeof fixture.order - 1);
    fixture.order[n] = (char)('0' + (participant - fixture.all));
    for (uint64_t start = clock_monotonic_usec();
         clock_monotonic_usec() - start < fixture.works_usec;)
        ;
    if (fixture.wants_more)
        rounds_add(fixture.rounds, participant);
}

/* One participant for each digit of `users`, which names its user. */
static void setup(const char *users, uint64_t round_usec)
{
    fixture = (struct fixture){.base = event_base_new()};
    ck_assert_int_eq(rounds_new(fixture.base, round_usec, serve, &fixture.rounds), 0);
    for (size_t i = 0; users[i]; i++) {
        ck_assert_int_eq(rounds_join(fixture.rounds, &fixture.all[i], (uid_t)(users[i] - '0')), 0);
    }
}

static void teardown(void)
{
    for (size_t i = 0; i < N_PARTICIPANTS; i++) {
        if (!fixture.all[i].user)
            continue;
        rounds_remove(fixture.rounds, &fixture.all[i]);
        rounds_leave(fixture.rounds, &fixture.all[i]);
    }
    rounds_free(fixture.rounds);
    event_base_free(fixture.base);
}

static void add(const char *which)
{
    for (; *which; which++)
        rounds_add(fixture.rounds, &fixture.all[*which - '0']);
}

/* What one pass of the loop serves. */
static void expect(const char *order)
{
    fixture.order[0] = '\0';
    memset(fixture.order, 0, sizeof fixture.order);
    event_base_loop(fixture.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    ck_assert_str_eq(fixture.order, order);
}

START_TEST(test_users)
{
    setup("11123", ENDLESS_USEC);
    add("0123");
    add("4");
    add("013"); /* already there */
    expect("03412");
    expect("");
    add("0");
    rounds_remove(fixture.rounds, &fixture.all[0]);
    rounds_remove(fixture.rounds, &fixture.all[0]);
    expect("");
    add("20");
    expect("20");
    teardown();
}
END_TEST

START_TEST(test_root)
{
    setup("11020", ENDLESS_USEC);
    add("0123");
    add("4");
    expect("20431"); /* its second turn is behind another user's */
    add("24");
    expect("24");
    teardown();
}
END_TEST

/* In a round each ready participant gets one turn; those that need more wait for the next round. */
START_TEST(test_rounds_end)
{
    setup("123", ENDLESS_USEC);
    fixture.wants_more = true;
    add("012");
    expect("012");
    expect("012");
    fixture.wants_more = false;
    expect("012");
    expect("");
    teardown();
}
END_TEST

START_TEST(test_unread)
{
    _Atomic uint64_t n_unread = 0;

    setup("112", ENDLESS_USEC);
    rounds_count_unread(fixture.rounds, &n_unread);
    rounds_hold(fixture.rounds, &fixture.all[0], 10, 7);
    rounds_hold(fixture.rounds, &fixture.all[2], 20, 20);
    ck_assert_uint_eq(n_unread, 27);
    rounds_hold(fixture.rounds, &fixture.all[0], 10, 3);
    ck_assert_uint_eq(n_unread, 23);
    rounds_leave(fixture.rounds, &fixture.all[2]);
    ck_assert_uint_eq(n_unread, 3);
    teardown();
    ck_assert_uint_eq(n_unread, 0);
}
END_TEST

/* A user who holds too much still gets the turns that make it hold less, and before others. */
START_TEST(test_senders)
{
    setup("112", ENDLESS_USEC);
    rounds_set_limit(fixture.rounds, 10);
    rounds_hold(fixture.rounds, &fixture.all[0], 10, 0);
    add("01");
    expect("");
    rounds_add_sender(fixture.rounds, &fixture.all[1]);
    rounds_add_sender(fixture.rounds, &fixture.all[1]);
    add("1");
    expect("1");
    expect("");
    rounds_add_sender(fixture.rounds, &fixture.all[1]);
    rounds_remove(fixture.rounds, &fixture.all[1]);
    expect("");
    rounds_hold(fixture.rounds, &fixture.all[0], 0, 0);
    expect("0");
    add("0");
    rounds_add_sender(fixture.rounds, &fixture.all[1]);
    expect("10");
    teardown();
}
END_TEST

START_TEST(test_time_ends_a_round)
{
    setup("1112", ROUND_USEC);
    fixture.works_usec = ROUND_USEC;
    add("0123");
    expect("0");
    expect("3");
    expect("1");
    expect("2");
    expect("");
    teardown();
}
END_TEST

/* A participant counts for its user until it ends, and leaves later. */
START_TEST(test_open)
{
    setup("1121", ENDLESS_USEC);
    ck_assert_uint_eq(rounds_n_open(fixture.rounds, 1), 3);
    ck_assert_uint_eq(rounds_n_open(fixture.rounds, 2), 1);
    ck_assert_uint_eq(rounds_n_open(fixture.rounds, 3), 0);
    rounds_end(&fixture.all[0]);
    rounds_end(&fixture.all[0]);
    ck_assert_uint_eq(rounds_n_open(fixture.rounds, 1), 2);
    rounds_leave(fixture.rounds, &fixture.all[0]);
    ck_assert_uint_eq(rounds_n_open(fixture.rounds, 1), 2);
    rounds_leave(fixture.rounds, &fixture.all[1]); /* without an end */
    ck_assert_uint_eq(rounds_n_open(fixture.rounds, 1), 1);
    rounds_end(&fixture.all[2]);
    rounds_leave(fixture.rounds, &fixture.all[2]);
    ck_assert_uint_eq(rounds_n_open(fixture.rounds, 2), 0);
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rounds");
    TCase *tcase = tcase_create("rounds");

    tcase_add_test(tcase, test_users);
    tcase_add_test(tcase, test_root);
    tcase_add_test(tcase, test_rounds_end);
    tcase_add_test(tcase, test_unread);
    tcase_add_test(tcase, test_senders);
    tcase_add_test(tcase, test_time_ends_a_round);
    tcase_add_test(tcase, test_open);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
