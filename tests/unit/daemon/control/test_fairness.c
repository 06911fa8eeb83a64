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

/* What a connection held is gone when it has ended, for whoever calls after that. */
START_TEST(test_ends_come_in_turn)
{
    struct client *first = client_new(), *second = client_new();

    send_call(first, "Hold", "{}");
    expect(first, "{\"parameters\":{}}");
    expect_echo(second);
    client_close(first);
    send_call(second, "Ended", "{}");
    expect_number(second, 1);
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

/* A user who holds his share is not read from, and the others are. Nothing is lost. */
START_TEST(test_share)
{
    enum { N_CONNECTIONS = 8, N_CALLS = 20, N_BYTES = 200000, LIMIT_BYTES = 4 << 20 };
    struct client *crowd[N_CONNECTIONS], *other;

    server_set_pending_limit(fixture.server, LIMIT_BYTES);
    for (int i = 0; i < N_CONNECTIONS; i++) {
        crowd[i] = client_as(NOBODY);
        expect_echo(crowd[i]);
    }
    other = client_as(NOBODY - 1);
    fixture.record.n_handled = 0;
    for (int i = 0; i < N_CONNECTIONS * N_CALLS; i++)
        send_call(crowd[i % N_CONNECTIONS], "Big", "{\"bytes\":200000}");
    settle();
    /* Half of the limit, one reply beyond it, and what the sockets take. */
    ck_assert_uint_le(fixture.record.n_handled, LIMIT_BYTES / 2 / N_BYTES + 2 + N_CONNECTIONS * 2);
    expect_echo(other);
    for (int i = 0; i < N_CONNECTIONS * N_CALLS; i++)
        json_decref(receive(crowd[i % N_CONNECTIONS]));
    ck_assert_uint_eq(fixture.record.n_handled, N_CONNECTIONS * N_CALLS + 1);
    expect_echo(crowd[0]);
}
END_TEST

static size_t read_all(const struct client *client)
{
    static char bytes[1 << 16];
    size_t n_bytes = 0;

    for (ssize_t n; (n = recv(client->fd, bytes, sizeof bytes, 0)) > 0;)
        n_bytes += (size_t)n;
    return n_bytes;
}

/* Sending takes a turn, too: root's call comes before what a member's socket accepts meanwhile,
 * although the member is over its share. */
START_TEST(test_sending_takes_turns)
{
    enum { N_BYTES = 1500000, N_AROUND = sizeof "{\"parameters\":{\"text\":\"\"}}" };
    struct client *slow = client_as(NOBODY), *root = client_new();
    size_t n_bytes;

    server_set_pending_limit(fixture.server, 1 << 20);
    expect_echo(root);
    send_call(slow, "Big", "{\"bytes\":1500000}");
    settle();
    n_bytes = read_all(slow);
    fixture.record.watched_fd = slow->fd;
    send_call(root, "Watched", "{}");
    loop_once();
    expect_number(root, 0);
    ck_assert_uint_gt(n_bytes, 0);
    while (n_bytes < N_BYTES + N_AROUND) {
        settle();
        size_t n_more = read_all(slow);
        ck_assert_uint_gt(n_more, 0);
        n_bytes += n_more;
    }
    ck_assert_uint_eq(n_bytes, N_BYTES + N_AROUND);
}
END_TEST

/* Calls that were let in one by one may be answered all at once: what has no room is an error. */
START_TEST(test_no_room)
{
    enum { N_CONNECTIONS = 6, N_BYTES = 1000000, LIMIT_BYTES = 1 << 20 };
    struct client *crowd[N_CONNECTIONS];
    char *text = malloc(N_BYTES + 1);
    unsigned n_refused = 0;

    server_set_pending_limit(fixture.server, LIMIT_BYTES);
    memset(text, 't', N_BYTES);
    text[N_BYTES] = '\0';
    for (int i = 0; i < N_CONNECTIONS; i++) {
        crowd[i] = client_as(NOBODY);
        send_call(crowd[i], "Keep", "{}");
        settle();
    }
    for (unsigned i = 0; i < N_CONNECTIONS; i++)
        call_reply(kept(i), json_pack("{s:s}", "text", text));
    for (int i = 0; i < N_CONNECTIONS; i++) {
        json_t *reply = receive(crowd[i]), *error = json_object_get(reply, "error");
        if (error)
            ck_assert_str_eq(json_string_value(error), "io.edgemind.manager.LimitExceeded");
        n_refused += error != NULL;
        json_decref(reply);
    }
    for (int i = 0; i < N_CONNECTIONS; i++)
        expect_echo(crowd[i]);
    ck_assert_uint_ge(n_refused, 1);
    ck_assert_uint_le(n_refused, N_CONNECTIONS - 2);
    free(text);
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
    tcase_add_test(tcase, test_ends_come_in_turn);
    if (geteuid() == 0) {
        tcase_add_test(tcase, test_users_take_turns);
        tcase_add_test(tcase, test_share);
        tcase_add_test(tcase, test_no_room);
        tcase_add_test(tcase, test_sending_takes_turns);
    } else {
        printf("skipped: users, which needs root\n");
    }
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
