/* Peers that read or send slowly: what is kept for them, and when their connections are closed. */
#include "daemon/control/call.h"
#include "daemon/control/connection.h"
#include "tests/unit/case_step.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/server_fixture.h"

enum { STALL_USEC = 100 * 1000 };

static size_t text_length(const struct client *client)
{
    json_t *reply = receive(client);
    size_t n = json_string_length(json_object_get(json_object_get(reply, "parameters"), "text"));

    json_decref(reply);
    return n;
}

/* Far more than a socket buffer has room for; under valgrind a megabyte is enough. */
static size_t big(size_t n_bytes)
{
    return case_step() > 1 ? n_bytes / 5 : n_bytes;
}

static void ask_for(const struct client *client, size_t n_bytes)
{
    char parameters[64];

    snprintf(parameters, sizeof parameters, "{\"bytes\":%zu}", n_bytes);
    send_call(client, "Big", parameters);
}

START_TEST(test_big_replies)
{
    struct client *client = client_new();
    ask_for(client, big(5000000));
    ask_for(client, big(3000000));
    send_number(client, 1);
    ck_assert_uint_eq(text_length(client), big(5000000));
    ck_assert_uint_eq(text_length(client), big(3000000));
    expect_number(client, 1);
}
END_TEST

START_TEST(test_big_reply_then_half_close)
{
    struct client *client = client_new();
    ask_for(client, big(5000000));
    ck_assert_int_eq(shutdown(client->fd, SHUT_WR), 0);
    settle();
    ck_assert_uint_eq(stats().n_connections, 1);
    ck_assert_uint_eq(text_length(client), big(5000000));
    expect_end(client);
}
END_TEST

START_TEST(test_hang_up_with_output_pending)
{
    static const char *const methods[] = {"Big", "Stream"};
    struct client *client = client_new();
    send_call(client, methods[_i], "{\"bytes\":3000000,\"count\":5},\"more\":true");
    send_number(client, 1);
    settle();
    ck_assert_uint_eq(stats().n_connections, 1);
    client_close(client);
    settle();
    ck_assert_uint_eq(stats().n_connections, 0);
    ck_assert_uint_eq(fixture.record.n_cancelled, (unsigned)_i);
}
END_TEST

/* Reading stops while the peer leaves more than CALL_PENDING_MAX unread. */
START_TEST(test_reading_stops)
{
    enum { N_CALLS = 60, N_BYTES = 100000 };
    struct client *client = client_new(), *other = client_new();
    for (int i = 0; i < N_CALLS; i++)
        send_call(client, "Big", "{\"bytes\":100000}");
    settle();
    ck_assert_uint_lt(fixture.record.n_handled, N_CALLS);
    ck_assert_uint_ge(fixture.record.n_handled, CALL_PENDING_MAX / N_BYTES);
    expect_echo(other);
    for (int i = 0; i < N_CALLS; i++)
        ck_assert_uint_eq(text_length(client), N_BYTES);
    expect_echo(client);
}
END_TEST

START_TEST(test_stream_pauses)
{
    enum { COUNT = 100, N_BYTES = 100000 };
    struct client *client = client_new(), *other = client_new();
    send_call(client, "Stream", "{\"count\":100,\"bytes\":100000},\"more\":true");
    settle();
    expect_echo(other);
    for (int i = 0; i <= COUNT; i++) {
        json_t *reply = receive(client), *parameters = json_object_get(reply, "parameters");
        ck_assert_int_eq(json_integer_value(json_object_get(parameters, "i")), i);
        ck_assert_int_eq(json_is_true(json_object_get(reply, "continues")), i < COUNT);
        json_decref(reply);
    }
    ck_assert_uint_ge(fixture.record.n_drained, COUNT * N_BYTES / CALL_PENDING_MAX - 1);
    ck_assert_uint_lt(fixture.record.most_pending_bytes, CALL_PENDING_MAX + N_BYTES + 100);
    expect_echo(client);
}
END_TEST

START_TEST(test_drained)
{
    struct client *client = client_new();
    send_call(client, "Keep", "{},\"more\":true");
    settle();
    ck_assert_uint_eq(fixture.record.n_drained, 0);
    call_continue(kept(0), NULL);
    ck_assert_uint_eq(fixture.record.n_drained, 0); /* not from within */
    ck_assert_uint_eq(call_pending_bytes(kept(0)), 0);
    settle();
    ck_assert_uint_eq(fixture.record.n_drained, 1);
    expect(client, "{\"parameters\":{},\"continues\":true}");
    call_reply(kept(0), NULL);
    settle();
    ck_assert_uint_eq(fixture.record.n_drained, 1);
}
END_TEST

START_TEST(test_slow_sender)
{
    uint64_t next_usec = 0;
    unsigned n_sent = 0;
    bool ended = false;

    server_set_stall(fixture.server, STALL_USEC);
    struct client *slow = client_new(), *idle = client_new();
    expect_echo(idle);
    send_number(slow, 1);
    send_bytes(slow, "{", 1);
    expect_number(slow, 1);
    /* Further bytes do not restart the clock: the connection ends although they keep coming. */
    for (uint64_t start = clock_monotonic_usec(); !ended; settle()) {
        uint64_t now = clock_monotonic_usec();
        ck_assert_uint_lt(now - start, GIVE_UP_USEC);
        if (now < next_usec)
            continue;
        next_usec = now + STALL_USEC / 20;
        ended = send(slow->fd, " ", 1, MSG_NOSIGNAL) != 1;
        n_sent++;
    }
    ck_assert_uint_lt(n_sent, MESSAGE_BYTES_MAX); /* it was not closed because of its length */
    expect_end(slow);
    ck_assert_uint_eq(stats().n_connections, 1);
    expect_echo(idle); /* it has been silent all the time */
}
END_TEST

/* For peers that are slow but never stall. If the machine itself pauses for so long, the end of the
 * connection proves nothing. */
struct pace {
    uint64_t start_usec, last_usec, longest_usec;
};

/* Waits, and returns whether the time is over. */
static bool keep_pace(struct pace *pace)
{
    uint64_t now;

    do {
        settle();
        now = clock_monotonic_usec();
    } while (now - pace->last_usec < STALL_USEC / 4);
    if (now - pace->last_usec > pace->longest_usec)
        pace->longest_usec = now - pace->last_usec;
    pace->last_usec = now;
    return now - pace->start_usec > 20 * STALL_USEC;
}

static struct pace pace_new(void)
{
    uint64_t now = clock_monotonic_usec();

    return (struct pace){now, now, 0};
}

/* The clock starts again with each message. */
START_TEST(test_steady_sender)
{
    static const char text[] = "{\"method\":\"test.peer.Echo\",\"parameters\":{\"x\":5}}";
    json_t *reply;

    server_set_stall(fixture.server, 10 * STALL_USEC);
    struct client *client = client_new();
    send_bytes(client, text, 5);
    struct pace pace = pace_new();
    do {
        if (send(client->fd, text + 5, sizeof text - 5, MSG_NOSIGNAL) < 0 ||
            send(client->fd, text, 5, MSG_NOSIGNAL) < 0 || !(reply = receive(client))) {
            ck_assert_uint_ge(pace.longest_usec, 9 * STALL_USEC);
            break;
        }
        json_decref(reply);
    } while (!keep_pace(&pace));
}
END_TEST

START_TEST(test_slow_reader)
{
    server_set_stall(fixture.server, STALL_USEC);
    struct client *client = client_new(), *other = client_new();
    expect_echo(other);
    send_call(client, "Stream", "{\"count\":100,\"bytes\":100000},\"more\":true");
    PUMP_UNTIL(stats().n_connections == 1);
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
    expect_echo(other);
}
END_TEST

/* Reads a piece; true at the end of the connection. */
static bool read_piece(const struct client *client, size_t *n_read)
{
    char buffer[65536];

    ssize_t n = recv(client->fd, buffer, sizeof buffer, 0);
    if (n > 0)
        *n_read += (size_t)n;
    return n == 0;
}

/* The clock starts again when the peer has read all pending bytes. */
START_TEST(test_steady_reader)
{
    enum { N_BYTES = 1000000 };
    size_t n_read = 0, n_asked = 0;

    server_set_stall(fixture.server, 20 * STALL_USEC);
    struct client *client = client_new();
    struct pace pace = pace_new();
    do {
        if (n_read >= n_asked) {
            send_call(client, "Big", "{\"bytes\":1000000}");
            n_asked += N_BYTES;
        }
        if (read_piece(client, &n_read)) {
            ck_assert_uint_ge(pace.longest_usec, 2 * STALL_USEC);
            break;
        }
    } while (!keep_pace(&pace));
}
END_TEST

/* Small pieces do not keep the connection: it ends long before all is read. */
START_TEST(test_trickling_reader)
{
    size_t n_read = 0;

    server_set_stall(fixture.server, STALL_USEC);
    struct client *client = client_new();
    send_call(client, "Big", "{\"bytes\":10000000}");
    struct pace pace = pace_new();
    while (!read_piece(client, &n_read) && stats().n_connections > 0)
        keep_pace(&pace);
    ck_assert_uint_lt(n_read, 5000000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slow_peers");
    TCase *tcase = tcase_create("slow_peers");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_big_replies);
    tcase_add_test(tcase, test_big_reply_then_half_close);
    tcase_add_loop_test(tcase, test_hang_up_with_output_pending, 0, 2);
    tcase_add_test(tcase, test_reading_stops);
    tcase_add_test(tcase, test_stream_pauses);
    tcase_add_test(tcase, test_drained);
    tcase_add_test(tcase, test_slow_sender);
    tcase_add_test(tcase, test_steady_sender);
    tcase_add_test(tcase, test_slow_reader);
    tcase_add_test(tcase, test_steady_reader);
    tcase_add_test(tcase, test_trickling_reader);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
