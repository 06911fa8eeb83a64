/* How others are served during a flood from one peer, or with many connections of one user. */
#include "daemon/control/connection.h"
#include "daemon/control/rounds.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/server_fixture.h"

enum { NOBODY = 65534 };

/* Connects as another user; needs root. */
static struct client *client_as(uid_t uid)
{
    ck_assert_int_eq(seteuid(uid), 0);
    struct client *client = client_new();
    ck_assert_int_eq(seteuid(0), 0);
    return client;
}

static void loop_once(void)
{
    event_base_loop(fixture.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* A turn serves few messages. */
START_TEST(test_turns)
{
    struct client *flood = client_new(), *other = client_new();

    expect_echo(flood);
    expect_echo(other);
    fixture.record.n_handled = 0;
    for (int i = 0; i < 3 * CONNECTION_TURN_MESSAGES; i++)
        send_number(flood, i);
    loop_once();
    ck_assert_uint_ge(fixture.record.n_handled, 1);
    ck_assert_uint_le(fixture.record.n_handled,
                      CONNECTION_TURN_MESSAGES); /* or its time was over */
    send_number(other, 7);
    loop_once();
    ck_assert_uint_le(fixture.record.n_handled, 2 * CONNECTION_TURN_MESSAGES + 1);
    expect_number(other, 7);
    for (int i = 0; i < 3 * CONNECTION_TURN_MESSAGES; i++)
        expect_number(flood, i);
}
END_TEST

/* A turn ends when its time is over, however few messages it has served. */
START_TEST(test_turns_take_time)
{
    enum { N_CALLS = 20 };
    struct client *flood = client_new(), *other = client_new();

    expect_echo(flood);
    expect_echo(other);
    fixture.record.n_handled = 0;
    for (int i = 0; i < N_CALLS; i++)
        send_call(flood, "Work", "{\"x\":1}");
    loop_once();
    ck_assert_uint_ge(fixture.record.n_handled, 1);
    ck_assert_uint_le(fixture.record.n_handled, ROUND_USEC / 1000);
    send_number(other, 7);
    loop_once();
    loop_once();
    ck_assert_uint_le(fixture.record.n_handled, 1 + 3 * ROUND_USEC / 1000);
    expect_number(other, 7);
    for (int i = 0; i < N_CALLS; i++)
        expect_number(flood, 1);
}
END_TEST

/* Users take turns, not connections: even with many busy connections of one user, a call of another
 * user or of root is answered after a few turns. */
START_TEST(test_users_take_turns)
{
    enum { N_CROWD = 16, N_CALLS = 8 };
    struct client *crowd[N_CROWD], *others[2];

    for (int i = 0; i < N_CROWD; i++)
        crowd[i] = client_as(NOBODY);
    others[0] = client_as(NOBODY - 1);
    others[1] = client_new();
    for (int i = 0; i < N_CROWD; i++)
        expect_echo(crowd[i]);
    for (int i = 0; i < 2; i++)
        expect_echo(others[i]);
    fixture.record.n_handled = 0;
    for (int i = 0; i < N_CROWD * N_CALLS; i++)
        send_call(crowd[i % N_CROWD], "Work", "{}");
    for (int i = 0; i < 2; i++)
        send_call(others[i], "Keep", "{}");
    while (fixture.record.n_kept < 2)
        loop_once();
    ck_assert_uint_le(fixture.record.n_handled, 2 + 3 * ROUND_USEC / 1000);
    for (int i = 0; i < 2; i++)
        call_reply(kept((unsigned)i), NULL);
    for (int i = 0; i < 2; i++)
        expect(others[i], "{\"parameters\":{}}");
    for (int i = 0; i < N_CROWD * N_CALLS; i++)
        expect(crowd[i % N_CROWD], "{\"parameters\":{}}");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fairness");
    TCase *tcase = tcase_create("fairness");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_turns);
    tcase_add_test(tcase, test_turns_take_time);
    if (geteuid() == 0)
        tcase_add_test(tcase, test_users_take_turns);
    else
        printf("skipped: users, which needs root\n");
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
