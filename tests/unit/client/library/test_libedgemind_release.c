/* How libedgemind gives leases back: one by one, more than the socket holds at once, to a daemon
 * that hangs, and at the end of the handle. */
#include "tests/unit/played_daemon.h"
#include "tests/unit/run_suite.h"

START_TEST(leases)
{
    int arena = new_arena(10);
    struct edgemind_layer *a = acquire_first(arena), *b;

    ck_assert_uint_eq(first_byte(a), 11);
    ck_assert_uint_eq(edgemind_layer_bytes(a), 10);
    ck_assert_str_eq(edgemind_layer_name(a), "l");
    ck_assert_str_eq(edgemind_layer_model(a), "m");

    /* After that a lease needs one call. */
    say(layer_reply("2", 3 * page, page, ""));
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 1500, &b), 0);
    expect_call(CALL("Acquire", "{\"model\":\"m\",\"layer\":\"l\",\"waitUsec\":1500}"));
    ck_assert_ptr_eq(edgemind_layer_data(b),
                     (const char *)edgemind_layer_data(a) + 2 * (ptrdiff_t)page);

    ck_assert_int_eq(edgemind_release(a), 0);
    expect_call(RELEASE("1"));
    ck_assert_uint_eq(first_byte(b), 13);
    ck_assert_int_eq(edgemind_release(b), 0);
    expect_call(RELEASE("2"));
    ck_assert_int_eq(edgemind_release(NULL), 0);
    expect_silence();
    ck_assert_str_eq(edgemind_error_text(em), "");
    ck_assert_ptr_null(edgemind_error_name(em));
}
END_TEST

enum { MANY = 64 };

/* Their leases are 1 to MANY. */
static void acquire_many(struct edgemind_layer *layers[static MANY])
{
    int arena = new_arena(10);

    layers[0] = acquire_first(arena);
    for (unsigned i = 1; i < MANY; i++) {
        char lease[8];
        snprintf(lease, sizeof lease, "%u", i + 1);
        say(layer_reply(lease, page, 10, ""));
        ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layers[i]), 0);
        hear_from(server);
    }
}

/* The client's end of the connection then takes only a few calls that are not read. */
static void narrow(void)
{
    struct sockaddr_un peer;

    for (int fd = 0; fd < 1024; fd++) {
        socklen_t n_bytes = sizeof peer;
        memset(&peer, 0, sizeof peer);
        if (getpeername(fd, (struct sockaddr *)&peer, &n_bytes) == 0 &&
            strcmp(peer.sun_path, address.sun_path) == 0) {
            ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int)), 0);
            return;
        }
    }
    ck_abort_msg("there is no connection");
}

static void *hear_many(void *unused)
{
    for (unsigned i = 0; i < MANY; i++) {
        char expected[128];
        snprintf(expected, sizeof expected, RELEASE("%u"), i + 1);
        expect_call(expected);
    }
    return unused;
}

/* The call waits until the daemon can read it, but for no answer; later calls get their own
 * answers. */
START_TEST(many_given_back)
{
    struct edgemind_layer *layers[MANY];
    pthread_t thread;

    acquire_many(layers);
    narrow();
    ck_assert_int_eq(pthread_create(&thread, NULL, hear_many, NULL), 0);
    for (unsigned i = 0; i < MANY; i++)
        ck_assert_int_eq(edgemind_release(layers[i]), 0);
    pthread_join(thread, NULL);
    expect_silence();
    say(layer_reply("9", 3 * page, 10, ""));
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layers[0]), 0);
    ck_assert_uint_eq(first_byte(layers[0]), 13);
    expect_call(CALL("Acquire", "{\"model\":\"m\",\"layer\":\"l\"}"));
}
END_TEST

/* If the daemon hangs, the call waits no longer than for an answer. */
START_TEST(given_back_to_nobody)
{
    struct edgemind_layer *layers[MANY];
    int r = 0;

    acquire_many(layers);
    narrow();
    edgemind_set_timeout(em, 1000);
    for (unsigned i = 0; i < MANY && r == 0; i++)
        r = edgemind_release(layers[i]);
    ck_assert_int_eq(r, -ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "did not answer in time"));
    ck_assert_int_eq(edgemind_check(em), -ETIMEDOUT);
}
END_TEST

/* Frees what is still held. */
START_TEST(end_with_leases)
{
    struct edgemind_run *run;
    struct edgemind_step step;
    int arena = new_arena(0);

    acquire_first(arena);
    say("{\"parameters\":{\"run\":\"r\",\"layers\":2}}");
    ck_assert_int_eq(edgemind_run_begin(em, "m", &run), 0);
    say(layer_reply("2", 0, page, ",\"index\":0,\"pass\":0,\"hit\":true"));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    edgemind_free(em);
    em = NULL;
    edgemind_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libedgemind_release");
    TCase *tests = tcase_create("libedgemind_release");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, leases);
    tcase_add_test(tests, many_given_back);
    tcase_add_test(tests, given_back_to_nobody);
    tcase_add_test(tests, end_with_leases);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
