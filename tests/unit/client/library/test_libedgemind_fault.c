/* libedgemind when a thread reads beyond the end of a truncated arena: the reader gets zeros, and
 * every later call fails with -ESTALE until the held layers are released or acquired again. See
 * test_arena_fault for the signal itself, and for why this program begins by executing itself. */
#include "tests/unit/played_daemon.h"
#include "tests/unit/run_suite.h"

static unsigned sum(const struct edgemind_layer *layer)
{
    const volatile unsigned char *bytes = edgemind_layer_data(layer);
    unsigned total = 0;

    for (size_t i = 0; i < edgemind_layer_bytes(layer); i++)
        total += bytes[i];
    return total;
}

/* Every call fails, and none sends anything to the daemon. */
static void expect_lost(void)
{
    struct edgemind_layer *layer;

    ck_assert_int_eq(edgemind_acquire(em, "x", "l", 0, &layer), -ESTALE);
    ck_assert_ptr_null(edgemind_error_name(em));
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "layer l of model m is lost"));
    ck_assert_int_eq(edgemind_check(em), -ESTALE);
    expect_no_client();
    expect_silence();
}

/* When no layer is held any more, the arena is mapped again on the same connection. */
START_TEST(given_back)
{
    int arena = new_arena(10), other = new_arena(60);
    struct edgemind_layer *layer = acquire_first(arena), *second;
    struct successor successor = {.arena = other};

    ck_assert_uint_eq(sum(layer), 110);
    ck_assert_int_eq(ftruncate(arena, 0), 0);
    ck_assert_uint_eq(sum(layer), 0);
    expect_lost();
    ck_assert_int_eq(edgemind_release(layer), -ESTALE);
    will_answer(&successor, layer_reply("7", 2 * page, 10, WITH_ARENA));
    will_answer(&successor, stats_reply());
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &second), 0);
    finish(&successor, true);
    expect_calls(&successor, CALL("Acquire", "{\"model\":\"m\",\"layer\":\"l\"}"),
                 CALL("Stats", "{}"), NULL);
    ck_assert_uint_eq(sum(second), 620);
}
END_TEST

/* Also if it is the same file and has grown again: the old map keeps its zeros. */
START_TEST(got_anew)
{
    int arena = new_arena(10);
    struct edgemind_layer *layer = acquire_first(arena);
    struct successor successor = {.arena = arena};

    ck_assert_int_eq(ftruncate(arena, 0), 0);
    ck_assert_uint_eq(sum(layer), 0);
    ck_assert_int_eq(ftruncate(arena, (off_t)(ARENA_PAGES * page)), 0);
    ck_assert_int_eq(pwrite(arena, "\1\2", 2, (off_t)page), 2);
    expect_lost();
    will_answer(&successor, layer_reply("7", page, 10, WITH_ARENA));
    will_answer(&successor, stats_reply());
    start(&successor);
    ck_assert_int_eq(edgemind_reconnect(em), 0);
    finish(&successor, true);
    ck_assert_int_eq(edgemind_check(em), 0);
    ck_assert_uint_eq(sum(layer), 3);
}
END_TEST

/* Each connection reports the loss separately. */
START_TEST(several_connections)
{
    int arena = new_arena(10), old = server;
    struct edgemind *first = em;
    struct edgemind_layer *layers[2] = {acquire_first(arena)};

    em = edgemind_new();
    ck_assert_int_eq(edgemind_connect(em, address.sun_path), 0);
    server = take_client();
    layers[1] = acquire_first(arena);
    ck_assert_int_eq(ftruncate(arena, 0), 0);
    ck_assert_uint_eq(sum(layers[0]) + sum(layers[1]), 0);
    expect_lost();
    edgemind_free(em);
    em = first;
    hang_up();
    server = old;
    expect_lost();
}
END_TEST

/* The same holds for a run's layer. */
START_TEST(of_a_run)
{
    int arena = new_arena(10);
    struct edgemind_run *run;
    struct edgemind_step step;

    say("{\"parameters\":{\"run\":\"r1\",\"layers\":2}}");
    ck_assert_int_eq(edgemind_run_begin(em, "m", &run), 0);
    say_to(server, layer_reply("1", page, 10, WITH_ARENA ",\"index\":0,\"pass\":0,\"hit\":true"),
           arena);
    say(stats_reply());
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    for (int i = 0; i < 3; i++)
        hear_from(server);
    ck_assert_int_eq(ftruncate(arena, 0), 0);
    ck_assert_uint_eq(sum(step.layer), 0);
    expect_lost();
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), -ESTALE);
    ck_assert_int_eq(edgemind_run_end(run), -ESTALE);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 1)
        execl(argv[0], argv[0], "again", (char *)NULL);

    Suite *suite = suite_create("libedgemind_fault");
    TCase *tests = tcase_create("libedgemind_fault");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, given_back);
    tcase_add_test(tests, got_anew);
    tcase_add_test(tests, several_connections);
    tcase_add_test(tests, of_a_run);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
