/* A connection's life: order, back-pressure, half-closes and hang-ups, slow peers, and reasons for
 * its end. */
#include "daemon/control/call.h"
#include "daemon/control/connection.h"
#include "tests/unit/case_step.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/server_fixture.h"

START_TEST(test_split_everywhere)
{
    static const char text[] = "{\"method\":\"test.peer.Echo\",\"parameters\":{\"x\":5}}";
    struct client *client = client_new();
    for (size_t split = 1; split < sizeof text; split++) {
        send_bytes(client, text, split);
        expect_nothing(client);
        send_bytes(client, text + split, sizeof text - split);
        expect_number(client, 5);
    }
}
END_TEST

START_TEST(test_pipelined)
{
    struct client *client = client_new();
    for (int i = 0; i < 300; i++)
        send_number(client, i);
    for (int i = 0; i < 300; i++)
        expect_number(client, i);
    expect_nothing(client);
    ck_assert_uint_eq(stats().n_requests, 300);
}
END_TEST

START_TEST(test_one_call_at_a_time)
{
    struct client *client = client_new(), *other = client_new();
    send_number(client, 1);
    send_call(client, "Keep", "{}");
    send_number(client, 2);
    expect_number(client, 1);
    expect_nothing(client);
    ck_assert_uint_eq(fixture.record.n_handled, 2);
    send_number(client, 3);
    expect_echo(other);
    expect_nothing(client);
    call_reply(kept(0), json_pack("{s:i}", "x", 0));
    expect_number(client, 0);
    expect_number(client, 2);
    expect_number(client, 3);
}
END_TEST

START_TEST(test_hang_up_cancels)
{
    /* What the peer did before it closed the connection: nothing, sent another call, sent half of
     * one. */
    static const char *const before[] = {"", "{\"method\":\"test.peer.Echo\"}", "{\"method\""};
    struct client *client = client_new(), *other = client_new();
    send_call(client, "Keep", "{}");
    settle();
    send_bytes(client, before[_i], strlen(before[_i]) + (_i == 1));
    client_close(client);
    settle();
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
    ck_assert_uint_eq(stats().n_connections, 1);
    expect_echo(other);
    ck_assert_uint_eq(fixture.record.n_handled, 2);
    client_close(other);
    fixture.server = server_free(fixture.server);
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
}
END_TEST

/* The peer closed the connection before its call was read. */
START_TEST(test_hang_up_before_the_call)
{
    struct client *client = client_new();
    send_call(client, "Keep", "{}");
    client_close(client);
    settle();
    ck_assert_uint_eq(fixture.record.n_handled, 1);
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
    ck_assert_uint_eq(stats().n_connections, 0);
}
END_TEST

/* An orderly end, and one that leaves replies unread (a reset). */
START_TEST(test_oneway_then_hang_up)
{
    bool unread = _i;
    struct client *client = client_new();
    send_number(client, 1);
    settle();
    if (!unread)
        expect_number(client, 1);
    send_call(client, "Echo", "{},\"oneway\":true");
    client_close(client);
    settle();
    ck_assert_uint_eq(fixture.record.n_handled, 2);
    ck_assert_uint_eq(stats().n_connections, 0);
}
END_TEST

START_TEST(test_half_close)
{
    struct client *client = client_new();
    for (int i = 0; i < 100; i++)
        send_number(client, i);
    ck_assert_int_eq(shutdown(client->fd, SHUT_WR), 0);
    for (int i = 0; i < 100; i++)
        expect_number(client, i);
    expect_end(client);
    ck_assert_uint_eq(stats().n_connections, 0);
}
END_TEST

START_TEST(test_half_close_during_a_call)
{
    struct client *client = client_new();
    send_call(client, "Keep", "{}");
    send_number(client, 2);
    settle();
    ck_assert_int_eq(shutdown(client->fd, SHUT_WR), 0);
    settle();
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
    call_reply(kept(0), json_pack("{s:i}", "x", 1));
    expect_number(client, 1);
    expect_number(client, 2);
    expect_end(client);
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
}
END_TEST

/* Edge-triggered: the hang-up behind a half-close must still be noticed. */
START_TEST(test_half_close_then_hang_up)
{
    struct client *client = client_new();
    send_call(client, "Keep", "{},\"more\":true");
    settle();
    ck_assert_int_eq(shutdown(client->fd, SHUT_WR), 0);
    settle();
    call_continue(kept(0), json_pack("{s:i}", "x", 1));
    expect(client, "{\"parameters\":{\"x\":1},\"continues\":true}");
    settle();
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
    ck_assert_uint_eq(stats().n_connections, 1);
    client_close(client);
    settle();
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
    ck_assert_uint_eq(stats().n_connections, 0);
}
END_TEST

START_TEST(test_half_close_inside_a_message)
{
    struct client *client = client_new();
    send_number(client, 1);
    send_bytes(client, "{\"method\"", 9);
    ck_assert_int_eq(shutdown(client->fd, SHUT_WR), 0);
    expect_number(client, 1);
    expect_end(client);
}
END_TEST

/* A failed send must not run the hook inside call_continue. */
START_TEST(test_reply_to_nobody)
{
    struct client *client = client_new(), *other = client_new();
    send_call(client, "Keep", "{},\"more\":true");
    send_call(other, "Keep", "{},\"more\":true");
    settle();
    client_close(client);
    client_close(other);
    for (unsigned i = 0; i < 2; i++) {
        call_continue(kept(i), NULL);
        call_continue(kept(i), NULL);
    }
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
    call_reply(kept(1), NULL); /* this call has ended, and is not cancelled, too */
    settle();
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
    ck_assert_uint_eq(stats().n_connections, 0);
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

    struct client *other = client_new();
    send_call(other, "Keep", "{}");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct client *client = client_new();
        send_number(client, 1);
        send_bytes(client, cases[i].bytes, cases[i].n_bytes);
        send_number(client, 2);
        expect_number(client, 1); /* calls before it count, calls after it do not */
        expect_end(client);
        client_close(client);
    }
    ck_assert_uint_eq(stats().n_connections, 1);
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
    call_reply(kept(0), NULL);
    expect(other, "{\"parameters\":{}}");
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
    char *text = long_call(MESSAGE_BYTES_MAX);
    struct client *client = client_new();
    for (int i = 0; i < 3; i++)
        send_bytes(client, text, MESSAGE_BYTES_MAX + 1);
    for (int i = 0; i < 3; i++)
        expect(client, "{\"parameters\":{\"number\":4}}");
    free(text);
}
END_TEST

/* Without its NUL, and with it. */
START_TEST(test_too_long_call)
{
    char *text = long_call(MESSAGE_BYTES_MAX + 1);
    struct client *client = client_new(), *other = client_new();
    send_bytes(client, text, MESSAGE_BYTES_MAX + 1 + (size_t)_i);
    expect_end(client);
    expect_echo(other);
    free(text);
}
END_TEST

/* The end of one call answers a call of another connection. */
START_TEST(test_hook_ends_another_call)
{
    struct client *client = client_new(), *other = client_new();
    send_call(client, "Keep", "{}");
    settle();
    send_call(other, "Keep", "{}");
    settle();
    fixture.record.answer_when_cancelled = kept(1);
    client_close(client);
    expect(other, "{\"parameters\":{}}");
    expect_echo(other);
    fixture.server = server_free(fixture.server);
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connection");
    TCase *tcase = tcase_create("connection");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_split_everywhere);
    tcase_add_test(tcase, test_pipelined);
    tcase_add_test(tcase, test_one_call_at_a_time);
    tcase_add_loop_test(tcase, test_hang_up_cancels, 0, 3);
    tcase_add_test(tcase, test_hang_up_before_the_call);
    tcase_add_loop_test(tcase, test_oneway_then_hang_up, 0, 2);
    tcase_add_test(tcase, test_half_close);
    tcase_add_test(tcase, test_half_close_during_a_call);
    tcase_add_test(tcase, test_half_close_then_hang_up);
    tcase_add_test(tcase, test_half_close_inside_a_message);
    tcase_add_test(tcase, test_reply_to_nobody);
    tcase_add_test(tcase, test_malformed);
    tcase_add_test(tcase, test_longest_call);
    tcase_add_loop_test(tcase, test_too_long_call, 0, 2);
    tcase_add_test(tcase, test_hook_ends_another_call);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
