/* The layers that libedgemind reports as lost when the new daemon does not have them. */
#include "tests/unit/restart_fixture.h"
#include "tests/unit/run_suite.h"

/* The new daemon's answer for the layer, and the error that the caller gets. */
static const struct {
    const char *reply; /* NULL: a layer of the following */
    size_t page, bytes;
    int fill;
    bool other_arena;
    const char *text;
} losses[] = {
    {NULL, 1, 10, 2, false, "no longer has it as it was"},
    {NULL, 2, 10, 1, false, "no longer has it as it was"},
    {NULL, 1, 11, 1, false, "no longer has it as it was"},
    {NULL, 1, 10, 1, true, "no longer has it as it was"},
    {"{\"error\":\"io.edgemind.manager.NotFound\",\"parameters\":{\"kind\":\"model\",\"name\":"
     "\"m\"}}",
     0, 0, 0, false, "there is no model m"},
    {REFUSAL("SourceChanged"), 0, 0, 0, false, "has changed"},
    {REFUSAL("Busy"), 0, 0, 0, false, "busy"},
    {REFUSAL("OutOfMemory"), 0, 0, 0, false, "out of memory"},
};

START_TEST(lost)
{
    int other = new_arena(60);
    struct edgemind_layer *second;
    struct successor loser = {.arena = losses[_i].other_arena ? other : held_arena};
    struct successor finder = {.arena = other};

    hang_up();
    will_answer(&loser, losses[_i].reply
                            ? losses[_i].reply
                            : filled_reply("7", losses[_i].page * page, losses[_i].bytes,
                                           losses[_i].fill, WITH_ARENA));
    if (losses[_i].other_arena)
        will_answer(&loser, stats_reply());
    start(&loser);
    ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &second), -ESTALE);
    finish(&loser, false);
    ck_assert_ptr_null(edgemind_error_name(em));
    ck_assert_msg(strstr(edgemind_error_text(em), "layer l of model m is lost: ") &&
                      strstr(edgemind_error_text(em), losses[_i].text),
                  "%s", edgemind_error_text(em));
    expect_lost("layer l of model m is lost");
    ck_assert_uint_eq(first_byte(held), 11);

    will_answer(&finder, filled_reply("8", 2 * page, 10, 5, WITH_ARENA));
    will_answer(&finder, stats_reply());
    start(&finder);
    ck_assert_int_eq(edgemind_reconnect(em), 0);
    finish(&finder, true);
    ck_assert_int_eq(edgemind_check(em), 0);
    ck_assert_uint_eq(first_byte(held), 62);
    ck_assert_int_eq(edgemind_release(held), 0);
    expect_call(RELEASE("8"));
}
END_TEST

/* Errors that say nothing about the layer: the next call tries again. */
START_TEST(refused_for_now)
{
    struct successor refusing = {0}, successor = {.arena = held_arena};

    hang_up();
    will_answer(&refusing, REFUSAL("LimitExceeded"));
    start(&refusing);
    ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &held), -EDQUOT);
    finish(&refusing, false);
    ck_assert_int_eq(edgemind_check(em), -ECONNRESET);
    will_answer_the_same(&successor, "2");
    will_answer(&successor, layer_reply("3", 0, 10, ""));
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &held), 0);
    finish(&successor, true);
}
END_TEST

/* The lost layer is released, and the other layers stay held. */
START_TEST(without_the_lost)
{
    struct edgemind_layer *second;
    struct successor loser = {0}, successor = {.arena = held_arena};

    say(layer_reply("2", 3 * page, page, ""));
    ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &second), 0);
    hang_up();
    will_answer(&loser, REFUSAL("NotFound"));
    start(&loser);
    ck_assert_int_eq(edgemind_release(second), -ESTALE); /* the lost one */
    finish(&loser, false);
    expect_calls(&loser, TAKE_UP_N, NULL, NULL);

    will_answer_the_same(&successor, "7");
    will_hear(&successor);
    start(&successor);
    ck_assert_int_eq(edgemind_release(held), 0);
    finish(&successor, true);
    expect_calls(&successor, TAKE_UP, RELEASE("7"), NULL);
}
END_TEST

/* Found by a look at the file, on the same connection. */
START_TEST(the_arena_is_cut)
{
    int other = new_arena(60);
    struct edgemind_layer *second;
    struct successor successor = {.arena = other};

    ck_assert_int_eq(ftruncate(held_arena, (off_t)(2 * page)), 0);
    ck_assert_int_eq(edgemind_check(em), 0); /* all that is held is there */
    ck_assert_int_eq(ftruncate(held_arena, 0), 0);
    expect_lost("layer l of model m is lost");
    expect_silence();
    ck_assert_int_eq(edgemind_release(held), -ESTALE);
    say(layer_reply("2", page, 10, "")); /* from an impossible daemon */
    will_answer(&successor, layer_reply("7", 2 * page, 10, WITH_ARENA));
    will_answer(&successor, stats_reply());
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &second), 0);
    expect_call(ACQUIRE_N);
    finish(&successor, true);
    ck_assert_uint_eq(first_byte(second), 62);
}
END_TEST

/* The arena may be truncated while a thread of the old daemon keeps the connection open. */
START_TEST(the_arena_is_cut_before_release)
{
    ck_assert_int_eq(ftruncate(held_arena, 0), 0);
    ck_assert_int_eq(edgemind_release(held), -ESTALE);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "layer l of model m is lost"));
    expect_call(RELEASE("1"));
    ck_assert_int_eq(edgemind_check(em), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libedgemind_loss");
    TCase *holding = tcase_create("with a layer held");
    tcase_add_checked_fixture(holding, setup_held, teardown);
    tcase_add_loop_test(holding, lost, 0, (int)(sizeof losses / sizeof *losses));
    tcase_add_test(holding, refused_for_now);
    tcase_add_test(holding, without_the_lost);
    tcase_add_test(holding, the_arena_is_cut);
    tcase_add_test(holding, the_arena_is_cut_before_release);
    suite_add_tcase(suite, holding);
    return run_suite(suite);
}
