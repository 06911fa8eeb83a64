/* A connection's life: order, fairness, back-pressure, half-closes and hang-ups, slow peers, and
 * what ends a connection. */
#include "daemon/control/call.h"
#include "daemon/control/connection.h"
#include "tests/unit/case_step.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/server_fixture.h"

START_TEST(test_split_everywhere)
{
    static const char text[] = "{\"method\":\"test.peer.Echo\",\"parameters\":{\"x\":5}}";
    struct fixture fixture;
    struct client client;

    setup(&fixture);
    client = client_new(&fixture);
    for (size_t split = 1; split < sizeof text; split++) {
        send_bytes(&client, text, split);
        expect_nothing(&client);
        send_bytes(&client, text + split, sizeof text - split);
        expect_number(&client, 5);
    }
    client_close(&client);
    teardown(&fixture);
}
END_TEST

START_TEST(test_pipelined)
{
    struct fixture fixture;
    struct client client;

    setup(&fixture);
    client = client_new(&fixture);
    for (int i = 0; i < 300; i++)
        send_number(&client, i);
    for (int i = 0; i < 300; i++)
        expect_number(&client, i);
    expect_nothing(&client);
    ck_assert_uint_eq(stats_of(&fixture).n_requests, 300);
    client_close(&client);
    teardown(&fixture);
}
END_TEST

/* One peer's flood does not keep the others waiting. */
START_TEST(test_turns)
{
    struct fixture fixture;
    struct client flood, other;

    setup(&fixture);
    flood = client_new(&fixture);
    other = client_new(&fixture);
    expect_echo(&flood);
    expect_echo(&other);
    fixture.record.n_handled = 0;
    for (int i = 0; i < 3 * CONNECTION_TURN_MESSAGES; i++)
        send_number(&flood, i);
    event_base_loop(fixture.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    ck_assert_uint_eq(fixture.record.n_handled, CONNECTION_TURN_MESSAGES);
    send_number(&other, 7);
    event_base_loop(fixture.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    ck_assert_uint_eq(fixture.record.n_handled, 2 * CONNECTION_TURN_MESSAGES + 1);
    expect_number(&other, 7);
    for (int i = 0; i < 3 * CONNECTION_TURN_MESSAGES; i++)
        expect_number(&flood, i);
    client_close(&flood);
    client_close(&other);
    teardown(&fixture);
}
END_TEST

START_TEST(test_one_call_at_a_time)
{
    struct fixture fixture;
    struct client client, other;

    setup(&fixture);
    client = client_new(&fixture);
    other = client_new(&fixture);
    send_number(&client, 1);
    send_call(&client, "Keep", "{}");
    send_number(&client, 2);
    expect_number(&client, 1);
    expect_nothing(&client);
    ck_assert_uint_eq(fixture.record.n_handled, 2);
    send_number(&client, 3);
    expect_echo(&other);
    expect_nothing(&client);
    call_reply(kept(&fixture, 0), json_pack("{s:i}", "x", 0));
    expect_number(&client, 0);
    expect_number(&client, 2);
    expect_number(&client, 3);
    client_close(&client);
    client_close(&other);
    teardown(&fixture);
}
END_TEST

START_TEST(test_hang_up_cancels)
{
    /* What the peer did before it went: nothing more, sent another call, sent half of one. */
    static const char *const before[] = {"", "{\"method\":\"test.peer.Echo\"}", "{\"method\""};

    for (size_t i = 0; i < 3; i++) {
        struct fixture fixture;
        struct client client, other;

        setup(&fixture);
        client = client_new(&fixture);
        other = client_new(&fixture);
        send_call(&client, "Keep", "{}");
        settle(&fixture);
        send_bytes(&client, before[i], strlen(before[i]) + (i == 1));
        client_close(&client);
        settle(&fixture);
        ck_assert_uint_eq(fixture.record.n_cancelled, 1);
        ck_assert_uint_eq(stats_of(&fixture).n_connections, 1);
        expect_echo(&other);
        ck_assert_uint_eq(fixture.record.n_handled, 2);
        client_close(&other);
        teardown(&fixture);
        ck_assert_uint_eq(fixture.record.n_cancelled, 1);
    }
}
END_TEST

/* The peer was gone before its call was read. */
START_TEST(test_hang_up_before_the_call)
{
    struct fixture fixture;
    struct client client;

    setup(&fixture);
    client = client_new(&fixture);
    send_call(&client, "Keep", "{}");
    client_close(&client);
    settle(&fixture);
    ck_assert_uint_eq(fixture.record.n_handled, 1);
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
    ck_assert_uint_eq(stats_of(&fixture).n_connections, 0);
    teardown(&fixture);
}
END_TEST

/* An orderly end, and one that leaves replies unread (a reset). */
START_TEST(test_oneway_then_hang_up)
{
    for (int unread = 0; unread < 2; unread++) {
        struct fixture fixture;
        struct client client;

        setup(&fixture);
        client = client_new(&fixture);
        send_number(&client, 1);
        settle(&fixture);
        if (!unread)
            expect_number(&client, 1);
        send_call(&client, "Echo", "{},\"oneway\":true");
        client_close(&client);
        settle(&fixture);
        ck_assert_uint_eq(fixture.record.n_handled, 2);
        ck_assert_uint_eq(stats_of(&fixture).n_connections, 0);
        teardown(&fixture);
    }
}
END_TEST

START_TEST(test_half_close)
{
    struct fixture fixture;
    struct client client;

    setup(&fixture);
    client = client_new(&fixture);
    for (int i = 0; i < 100; i++)
        send_number(&client, i);
    ck_assert_int_eq(shutdown(client.fd, SHUT_WR), 0);
    for (int i = 0; i < 100; i++)
        expect_number(&client, i);
    expect_end(&client);
    ck_assert_uint_eq(stats_of(&fixture).n_connections, 0);
    client_close(&client);
    teardown(&fixture);
}
END_TEST

START_TEST(test_half_close_during_a_call)
{
    struct fixture fixture;
    struct client client;

    setup(&fixture);
    client = client_new(&fixture);
    send_call(&client, "Keep", "{}");
    send_number(&client, 2);
    settle(&fixture);
    ck_assert_int_eq(shutdown(client.fd, SHUT_WR), 0);
    settle(&fixture);
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
    call_reply(kept(&fixture, 0), json_pack("{s:i}", "x", 1));
    expect_number(&client, 1);
    expect_number(&client, 2);
    expect_end(&client);
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
    client_close(&client);
    teardown(&fixture);
}
END_TEST

/* Edge-triggered: the hang-up behind a half-close must still be noticed. */
START_TEST(test_half_close_then_hang_up)
{
    struct fixture fixture;
    struct client client;

    setup(&fixture);
    client = client_new(&fixture);
    send_call(&client, "Keep", "{},\"more\":true");
    settle(&fixture);
    ck_assert_int_eq(shutdown(client.fd, SHUT_WR), 0);
    settle(&fixture);
    call_continue(kept(&fixture, 0), json_pack("{s:i}", "x", 1));
    expect(&client, "{\"parameters\":{\"x\":1},\"continues\":true}");
    settle(&fixture);
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
    ck_assert_uint_eq(stats_of(&fixture).n_connections, 1);
    client_close(&client);
    settle(&fixture);
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
    ck_assert_uint_eq(stats_of(&fixture).n_connections, 0);
    teardown(&fixture);
}
END_TEST

START_TEST(test_half_close_inside_a_message)
{
    struct fixture fixture;
    struct client client;

    setup(&fixture);
    client = client_new(&fixture);
    send_number(&client, 1);
    send_bytes(&client, "{\"method\"", 9);
    ck_assert_int_eq(shutdown(client.fd, SHUT_WR), 0);
    expect_number(&client, 1);
    expect_end(&client);
    client_close(&client);
    teardown(&fixture);
}
END_TEST

/* A failed send must not run the hook inside call_continue. */
START_TEST(test_reply_to_nobody)
{
    struct fixture fixture;
    struct client client, other;

    setup(&fixture);
    client = client_new(&fixture);
    other = client_new(&fixture);
    send_call(&client, "Keep", "{},\"more\":true");
    send_call(&other, "Keep", "{},\"more\":true");
    settle(&fixture);
    client_close(&client);
    client_close(&other);
    for (unsigned i = 0; i < 2; i++) {
        call_continue(kept(&fixture, i), NULL);
        call_continue(kept(&fixture, i), NULL);
    }
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
    call_reply(kept(&fixture, 1), NULL); /* this one has ended, and is not cancelled too */
    settle(&fixture);
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
    ck_assert_uint_eq(stats_of(&fixture).n_connections, 0);
    teardown(&fixture);
}
END_TEST

START_TEST(test_malformed)
{
    static const struct {
        const char *bytes;
        size_t n_bytes;
    } cases[] = {
        {"", 1},
        {"x", 2},
        {"{", 2},
        {"[]", 3},
        {"{}", 3},
        {"{\"method\":1}", 13},
        {"{\"method\":\"test.peer.Echo\",\"extra\":1}", 38},
        {"{\"method\":\"test.peer.Echo\",\"more\":1}", 37},
        {"{\"method\":\"test.peer.Echo\",\"more\":true,\"oneway\":true}", 54},
        {"{\"method\":\"test.peer.Echo\",\"method\":\"test.peer.Echo\"}", 54},
        {"{\"method\":\"test.peer.Echo\xff\"}", 29},
        {"{\"method\":\"test.p\0eer.Echo\"}", 29},
        {"{\"method\":\"test.peer.Echo\",\"parameters\":{\"x\":18446744073709551616}}", 68},
    };
    struct fixture fixture;
    struct client other;

    setup(&fixture);
    other = client_new(&fixture);
    send_call(&other, "Keep", "{}");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct client client = client_new(&fixture);
        send_number(&client, 1);
        send_bytes(&client, cases[i].bytes, cases[i].n_bytes);
        send_number(&client, 2);
        expect_number(&client, 1); /* what came before it counts, what comes behind it does not */
        expect_end(&client);
        client_close(&client);
    }
    ck_assert_uint_eq(stats_of(&fixture).n_connections, 1);
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
    call_reply(kept(&fixture, 0), NULL);
    expect(&other, "{\"parameters\":{}}");
    client_close(&other);
    teardown(&fixture);
}
END_TEST

/* A call of `n_bytes` without its NUL. */
static char *long_call(size_t n_bytes)
{
    static const char head[] = "{\"method\":\"test.peer.Decode\",\"parameters\":{\"number\":4}}";
    char *text = malloc(n_bytes + 1);

    memset(text, ' ', n_bytes);
    memcpy(text, head, sizeof head - 1);
    text[n_bytes] = '\0';
    return text;
}

START_TEST(test_longest_call)
{
    struct fixture fixture;
    struct client client;
    char *text = long_call(MESSAGE_BYTES_MAX);

    setup(&fixture);
    client = client_new(&fixture);
    for (int i = 0; i < 3; i++)
        send_bytes(&client, text, MESSAGE_BYTES_MAX + 1);
    for (int i = 0; i < 3; i++)
        expect(&client, "{\"parameters\":{\"number\":4}}");
    client_close(&client);
    free(text);
    teardown(&fixture);
}
END_TEST

START_TEST(test_too_long_call)
{
    char *text = long_call(MESSAGE_BYTES_MAX + 1);

    for (size_t with_nul = 0; with_nul < 2; with_nul++) {
        struct fixture fixture;
        struct client client, other;

        setup(&fixture);
        client = client_new(&fixture);
        other = client_new(&fixture);
        send_bytes(&client, text, MESSAGE_BYTES_MAX + 1 + with_nul);
        expect_end(&client);
        expect_echo(&other);
        client_close(&client);
        client_close(&other);
        teardown(&fixture);
    }
    free(text);
}
END_TEST

/* One call's end answers another connection's call. */
START_TEST(test_hook_ends_another_call)
{
    struct fixture fixture;
    struct client client, other;

    setup(&fixture);
    client = client_new(&fixture);
    other = client_new(&fixture);
    send_call(&client, "Keep", "{}");
    settle(&fixture);
    send_call(&other, "Keep", "{}");
    settle(&fixture);
    fixture.record.answer_when_cancelled = kept(&fixture, 1);
    client_close(&client);
    expect(&other, "{\"parameters\":{}}");
    expect_echo(&other);
    client_close(&other);
    teardown(&fixture);
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connection");
    TCase *tcase = tcase_create("connection");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_split_everywhere);
    tcase_add_test(tcase, test_pipelined);
    tcase_add_test(tcase, test_turns);
    tcase_add_test(tcase, test_one_call_at_a_time);
    tcase_add_test(tcase, test_hang_up_cancels);
    tcase_add_test(tcase, test_hang_up_before_the_call);
    tcase_add_test(tcase, test_oneway_then_hang_up);
    tcase_add_test(tcase, test_half_close);
    tcase_add_test(tcase, test_half_close_during_a_call);
    tcase_add_test(tcase, test_half_close_then_hang_up);
    tcase_add_test(tcase, test_half_close_inside_a_message);
    tcase_add_test(tcase, test_reply_to_nobody);
    tcase_add_test(tcase, test_malformed);
    tcase_add_test(tcase, test_longest_call);
    tcase_add_test(tcase, test_too_long_call);
    tcase_add_test(tcase, test_hook_ends_another_call);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
