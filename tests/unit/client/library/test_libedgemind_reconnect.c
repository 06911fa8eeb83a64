/* What edgemind_reconnect acquires again, and that it does all or nothing. */
#include "tests/unit/restart_fixture.h"
#include "tests/unit/run_suite.h"

START_TEST(reconnect_while_all_is_well)
{
    const void *data = edgemind_layer_data(held);
    const char *name = edgemind_layer_name(held);
    struct edgemind_run *run;
    struct edgemind_step step;
    struct successor successor = {.arena = held_arena};

    say("{\"parameters\":{\"run\":\"r1\",\"layers\":2}}");
    ck_assert_int_eq(edgemind_run_begin(em, "m", &run), 0);
    hear_from(server);
    say(layer_reply("2", 0, page, PLACE(0, 0)));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    hear_from(server);

    will_answer(&successor, layer_reply("77", page, 10, WITH_ARENA));
    will_answer(&successor, "{\"parameters\":{\"run\":\"r2\",\"layers\":2}}");
    will_answer(&successor, layer_reply("78", 0, page, PLACE(0, 0)));
    start(&successor);
    ck_assert_int_eq(edgemind_reconnect(em), 0);
    finish(&successor, true);
    expect_calls(&successor, TAKE_UP, CALL("BeginRun", "{\"model\":\"m\"}"), TAKE_STEP("r2"));
    ck_assert_ptr_eq(edgemind_layer_data(held), data);
    ck_assert_ptr_eq(edgemind_layer_name(held), name);
    ck_assert_uint_eq(first_byte(held), 11);
    ck_assert_uint_eq(first_byte(step.layer), 10);
    say(layer_reply("79", 0, page, PLACE(1, 0)));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    expect_call(NEXT("r2"));
    ck_assert_int_eq(edgemind_release(held), 0);
    expect_call(RELEASE("77"));
}
END_TEST

START_TEST(reconnect_to_another_arena)
{
    int other_arena = new_arena(60);
    struct edgemind_layer *second;
    struct successor successor = {.arena = other_arena};

    say(layer_reply("2", 4 * page, 10, ""));
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &second), 0);
    hang_up(); /* the daemon has died */
    will_answer(&successor, layer_reply("7", 2 * page, 10, WITH_ARENA));
    will_answer(&successor, stats_reply());
    will_answer(&successor, layer_reply("8", 3 * page, 10, ""));
    start(&successor);
    ck_assert_int_eq(edgemind_reconnect(em), 0);
    finish(&successor, true);
    unsigned char bytes[] = {first_byte(held), first_byte(second)};
    ck_assert_uint_eq(bytes[0] + bytes[1], 62 + 63);
    struct edgemind_tensor tensor;
    ck_assert_int_eq(edgemind_layer_find_tensor(held, "w", &tensor), 0);
    ck_assert_ptr_eq(tensor.data, (const char *)edgemind_layer_data(held) + 1);
}
END_TEST

/* All or nothing. */
START_TEST(reconnect_in_vain)
{
    const void *data = edgemind_layer_data(held);
    struct successor refusing = {0}, changed = {.arena = held_arena};

    will_answer(&refusing, REFUSAL("NotFound"));
    start(&refusing);
    ck_assert_int_eq(edgemind_reconnect(em), -ENOENT);
    finish(&refusing, false);
    will_answer(&changed, layer_reply("7", 2 * page, 11, WITH_ARENA)); /* a byte more */
    start(&changed);
    ck_assert_int_eq(edgemind_reconnect(em), -ESTALE);
    finish(&changed, false);
    ck_assert_ptr_null(edgemind_error_name(em));
    ck_assert_ptr_eq(edgemind_layer_data(held), data);
    ck_assert_uint_eq(first_byte(held), 11);
    /* The old connection still works. */
    ck_assert_int_eq(edgemind_check(em), 0);
    ck_assert_int_eq(edgemind_release(held), 0);
    expect_call(RELEASE("1"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libedgemind_reconnect");
    TCase *holding = tcase_create("with a layer held");
    tcase_add_checked_fixture(holding, setup_held, teardown);
    tcase_add_test(holding, reconnect_while_all_is_well);
    tcase_add_test(holding, reconnect_to_another_arena);
    tcase_add_test(holding, reconnect_in_vain);
    suite_add_tcase(suite, holding);
    return run_suite(suite);
}
