/* libedgemind when its daemon ends and comes back: calls that work as if nothing had happened. */
#include "tests/unit/failing_json.h"
#include "tests/unit/restart_fixture.h"
#include "tests/unit/run_suite.h"

START_TEST(goes_on)
{
    struct edgemind_layer *second;
    struct edgemind_tensor before, after;
    const void *data = edgemind_layer_data(held);
    const char *name = edgemind_layer_name(held);
    struct successor successor = {.arena = held_arena};

    ck_assert_int_eq(edgemind_layer_tensor(held, 0, &before), 0);
    ck_assert_int_eq(edgemind_check(em), 0);
    hang_up();
    ck_assert_int_eq(edgemind_check(em), -ECONNRESET);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "hung up"));
    will_answer_the_same(&successor, "77");
    will_answer(&successor, layer_reply("78", 3 * page, page, ""));
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &second), 0);
    finish(&successor, true);
    expect_calls(&successor, TAKE_UP, ACQUIRE_N, NULL);

    ck_assert_int_eq(edgemind_check(em), 0);
    ck_assert_ptr_eq(edgemind_layer_data(held), data);
    ck_assert_ptr_eq(edgemind_layer_name(held), name);
    ck_assert_int_eq(edgemind_layer_tensor(held, 0, &after), 0);
    ck_assert_ptr_eq(after.name, before.name);
    ck_assert_ptr_eq(after.shape, before.shape);
    ck_assert_ptr_eq(after.data, before.data);
    ck_assert_uint_eq(first_byte(held), 11);
    ck_assert_uint_eq(first_byte(second), 13);
    ck_assert_int_eq(edgemind_release(held), 0);
    expect_call(RELEASE("77"));
    ck_assert_int_eq(edgemind_release(second), 0);
    expect_call(RELEASE("78"));
}
END_TEST

/* The daemon dies during the call, and so do some of its successors: the call is made again. */
START_TEST(made_again)
{
    struct edgemind_layer *second;
    struct successor successor = {.interrupts = true, .n_deaths = 3, .arena = held_arena};

    will_answer_the_same(&successor, "77");
    will_answer(&successor, layer_reply("78", 3 * page, page, ""));
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &second), 0);
    finish(&successor, true);
    expect_calls(&successor, TAKE_UP, ACQUIRE_N, NULL);
    expect_silence();
    ck_assert_uint_eq(first_byte(held), 11);
}
END_TEST

/* Before a layer is released, its lease is taken up again with a new name: only this shows whether
 * the layer was unchanged until then. */
START_TEST(given_back)
{
    struct successor successor = {.n_deaths = 3, .arena = held_arena};

    hang_up();
    will_answer_the_same(&successor, "77");
    will_hear(&successor);
    start(&successor);
    ck_assert_int_eq(edgemind_release(held), 0);
    finish(&successor, true);
    expect_calls(&successor, TAKE_UP, RELEASE("77"), NULL);
    expect_silence();
}
END_TEST

/* If the daemon still runs at the release, it has kept the layer until then. */
START_TEST(given_back_before_the_end)
{
    struct edgemind_layer *second;
    struct successor successor = {.arena = held_arena};

    ck_assert_int_eq(edgemind_release(held), 0);
    hang_up(); /* with the call unread */
    will_answer(&successor, layer_reply("2", 3 * page, page, WITH_ARENA));
    will_answer(&successor, stats_reply());
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &second), 0);
    finish(&successor, true);
    expect_calls(&successor, ACQUIRE_N, STATS, NULL);
}
END_TEST

static void *interrupt(void *unused)
{
    hear_from(server);
    hang_up();
    return unused;
}

/* The daemon may have registered the model before it died. */
START_TEST(a_load_is_not_made_again)
{
    struct successor successor = {0};
    pthread_t thread;
    char path[256];

    snprintf(path, sizeof path, "%s/w.gguf", directory);
    FILE *file = fopen(path, "we");
    ck_assert_int_ge(fputs("GGUF\3", file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, interrupt, NULL), 0);
    ck_assert_int_eq(edgemind_load(em, path, NULL, NULL, NULL), -ECONNRESET);
    pthread_join(thread, NULL);
    expect_no_client();

    /* If the connection was lost before, the load waits for a new one. */
    will_answer(&successor, "{}");
    start(&successor);
    ck_assert_int_eq(edgemind_load(em, path, NULL, NULL, NULL), 0);
    finish(&successor, true);
    expect_calls(&successor, CALL("LoadModel", "{\"definitionFileDescriptor\":0,\"name\":\"w\"}"),
                 NULL, NULL);
    hang_up();
    successor = (struct successor){0};
    will_answer(&successor, "{}");
    start(&successor);
    ck_assert_int_eq(edgemind_load(em, path, NULL, NULL, NULL), 0);
    finish(&successor, true);
    unlink(path);
}
END_TEST

/* It tries for a bounded time, and after that once per call. */
START_TEST(nobody_comes_back)
{
    struct edgemind_layer *second;
    struct successor successor = {.arena = held_arena};

    hang_up();
    close(listener);
    unlink(address.sun_path);
    edgemind_set_timeout(em, 20 * 1000);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &second), -ENOENT);
        ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "no daemon at"));
    }
    ck_assert_int_eq(edgemind_check(em), -ECONNRESET);
    ck_assert_uint_eq(first_byte(held), 11); /* still mapped */
    edgemind_set_timeout(em, UINT64_MAX);
    listen_anew();
    will_answer_the_same(&successor, "77");
    will_answer(&successor, layer_reply("78", 3 * page, page, ""));
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &second), 0);
    finish(&successor, true);
}
END_TEST

/* An answer that comes too late must not be taken for that of the next call, which is made over a
 * new connection. */
START_TEST(too_late)
{
    int arena = new_arena(10);
    struct edgemind_layer *layer;
    struct successor successor = {.arena = arena};

    edgemind_set_timeout(em, 1000);
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), -ETIMEDOUT);
    ck_assert_int_eq(edgemind_check(em), -ETIMEDOUT);
    hear_from(server);
    say("{\"error\":\"late.Answer\"}");
    edgemind_set_timeout(em, UINT64_MAX);
    will_answer_the_same(&successor, "1");
    will_answer(&successor, stats_reply());
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), 0);
    finish(&successor, true);
    expect_calls(&successor, ACQUIRE, STATS, NULL);
}
END_TEST

START_TEST(rubbish)
{
    int arena = new_arena(10);
    struct edgemind_layer *layer;
    struct successor successor = {.arena = arena};

    say("HTTP/1.1 400 Bad Request\r\n");
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), -EBADMSG);
    ck_assert_int_eq(edgemind_check(em), -EBADMSG);
    hear_from(server);
    will_answer_the_same(&successor, "1");
    will_answer(&successor, stats_reply());
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), 0);
    finish(&successor, true);
}
END_TEST

/* The daemon is replaced between its answer and the check of the arena. */
START_TEST(an_answer_from_the_grave)
{
    int other = new_arena(60);
    struct successor successor = {.arena = other};

    ck_assert_int_eq(edgemind_release(held), 0);
    expect_call(RELEASE("1"));
    ck_assert_int_eq(ftruncate(held_arena, 0), 0);
    say(layer_reply("2", page, 10, ""));
    will_answer(&successor, layer_reply("7", 2 * page, 10, WITH_ARENA));
    will_answer(&successor, stats_reply());
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &held), 0);
    expect_call(ACQUIRE);
    finish(&successor, true);
    expect_calls(&successor, ACQUIRE, STATS, NULL);
    ck_assert_uint_eq(first_byte(held), 62);
}
END_TEST

START_TEST(never_connected)
{
    struct edgemind *other = edgemind_new();

    ck_assert_int_eq(edgemind_check(other), -ENOTCONN);
    ck_assert_int_eq(edgemind_connect(other, "/nowhere/at/all"), -ENOENT);
    ck_assert_int_eq(edgemind_check(other), -ENOTCONN);
    edgemind_free(other);
}
END_TEST

/* Serves one client after the other until the listener is shut down: the same layer to all. */
static void *serve(void *arena)
{
    int client;

    while ((client = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        char call[CALL_BYTES_MAX];
        for (size_t n = 0; recv(client, call + n, 1, 0) == 1 && n + 1 < sizeof call;) {
            if (call[n++] != '\0')
                continue;
            n = 0;
            if (strstr(call, "Acquire"))
                try_to_say(client, layer_reply("9", page, 10, WITH_ARENA), *(const int *)arena);
            else
                try_to_say(client, "{}", -1);
        }
        close(client);
    }
    return NULL;
}

/* Each allocation of jansson fails once: the result is an error, and a later call takes up the
 * leases again. */
START_TEST(out_of_memory)
{
    int r = -1;
    pthread_t thread;

    hang_up();
    ck_assert_int_eq(pthread_create(&thread, NULL, serve, &held_arena), 0);
    for (size_t n = 0; r < 0; n++) {
        ck_assert_uint_lt(n, 1000);
        edgemind_check(em);
        fail_after(n);
        struct edgemind_run *run;
        r = edgemind_run_begin(em, "\xff", &run); /* takes up, and then cannot be said */
        fail_no_more();
        r = edgemind_check(em);
    }
    ck_assert_uint_eq(first_byte(held), 11);
    ck_assert_int_eq(edgemind_release(held), 0);
    edgemind_free(em);
    em = NULL;
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libedgemind_restart");
    TCase *tests = tcase_create("with nothing held");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_load_is_not_made_again);
    tcase_add_test(tests, too_late);
    tcase_add_test(tests, rubbish);
    tcase_add_test(tests, never_connected);
    suite_add_tcase(suite, tests);
    TCase *holding = tcase_create("with a layer held");
    tcase_add_checked_fixture(holding, setup_held, teardown);
    tcase_add_test(holding, goes_on);
    tcase_add_test(holding, made_again);
    tcase_add_test(holding, given_back);
    tcase_add_test(holding, given_back_before_the_end);
    tcase_add_test(holding, nobody_comes_back);
    tcase_add_test(holding, an_answer_from_the_grave);
    tcase_add_test(holding, out_of_memory);
    suite_add_tcase(suite, holding);
    return run_suite(suite);
}
