/* Runs with libedgemind: their steps, and what happens to them when the daemon ends. */
#include "tests/unit/restart_fixture.h"
#include "tests/unit/run_suite.h"

static struct edgemind_run *run;
static struct edgemind_step step;

START_TEST(runs)
{
    int arena = new_arena(30);

    say("{\"parameters\":{\"run\":\"r1\",\"layers\":2}}");
    ck_assert_int_eq(edgemind_run_begin(em, "m", &run), 0);
    expect_call(CALL("BeginRun", "{\"model\":\"m\"}"));
    ck_assert_uint_eq(edgemind_run_layers(run), 2);

    /* The arena comes with the first step as with the first Acquire. */
    say_to(server,
           layer_reply("1", 2 * page, page, WITH_ARENA ",\"index\":0,\"pass\":0,\"hit\":false"),
           arena);
    say(stats_reply());
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    expect_call(CALL("Next", "{\"run\":\"r1\"}"));
    expect_call(CALL("Stats", "{}"));
    ck_assert_uint_eq(first_byte(step.layer), 32);
    ck_assert_str_eq(edgemind_layer_model(step.layer), "m");
    ck_assert(!step.hit);

    /* After a refusal the run keeps its place. */
    say("{\"error\":\"io.edgemind.manager.Busy\"}");
    ck_assert_int_eq(edgemind_run_next(run, 5, &step), -EBUSY);
    expect_call(CALL("Next", "{\"run\":\"r1\",\"waitUsec\":5}"));
    ck_assert_int_eq(edgemind_run_next(run, EDGEMIND_WAIT_USEC_MAX + 1, &step), -EINVAL);
    say(layer_reply("2", 4 * page, page, ",\"index\":1,\"pass\":7,\"hit\":true"));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    hear_from(server);
    ck_assert_uint_eq(first_byte(step.layer), 34);
    ck_assert_uint_eq(step.index, 1);
    ck_assert_uint_eq(step.pass, 7);
    ck_assert(step.hit);

    say("{}");
    ck_assert_int_eq(edgemind_run_end(run), 0);
    expect_call(CALL("EndRun", "{\"run\":\"r1\"}"));
    ck_assert_int_eq(edgemind_run_end(NULL), 0);
}
END_TEST

static const char *const bad_steps[] = {
    "",
    ",\"index\":2,\"pass\":0,\"hit\":true",
    ",\"index\":-1,\"pass\":0,\"hit\":true",
    ",\"index\":0,\"pass\":-1,\"hit\":true",
    ",\"index\":0,\"pass\":0,\"hit\":1",
    ",\"index\":0,\"pass\":0,\"hit\":true,\"bytes\":0",
};

/* The daemon is one step ahead of the caller: only a new connection can go back. */
START_TEST(bad_step)
{
    char reply[1024];
    int arena = new_arena(0);
    struct successor successor = {.arena = arena};

    acquire_first(arena);
    say("{\"parameters\":{\"run\":\"r1\",\"layers\":2}}");
    ck_assert_int_eq(edgemind_run_begin(em, "m", &run), 0);
    hear_from(server);
    strcpy(reply, layer_reply("2", 0, page, bad_steps[_i]));
    if (strstr(bad_steps[_i], "bytes")) /* an impossible layer */
        strcpy(reply, layer_reply("2", ARENA_PAGES * page, page, ""));
    say(reply);
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), -EBADMSG);
    hear_from(server);
    expect_no_client();

    will_answer(&successor, layer_reply("3", page, 10, WITH_ARENA));
    will_answer(&successor, "{\"parameters\":{\"run\":\"r2\",\"layers\":2}}");
    will_answer(&successor, layer_reply("4", 0, page, ",\"index\":0,\"pass\":0,\"hit\":true"));
    start(&successor);
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    finish(&successor, true);
    expect_calls(&successor, CALL("Acquire", "{\"model\":\"m\",\"layer\":\"l\",\"fill\":1}"),
                 CALL("BeginRun", "{\"model\":\"m\"}"), CALL("Next", "{\"run\":\"r2\"}"));
    ck_assert_uint_eq(step.index, 0);
    say("{}");
    ck_assert_int_eq(edgemind_run_end(run), 0);
    expect_call(CALL("EndRun", "{\"run\":\"r2\"}"));
    say("{\"parameters\":{\"run\":\"r3\",\"layers\":0}}");
    ck_assert_int_eq(edgemind_run_begin(em, "m", &run), -EBADMSG);
}
END_TEST

static int run_arena;

/* A run at the last layer of three. */
static void setup_run(void)
{
    setup();
    run_arena = new_arena(10);
    say(BEGUN("r1"));
    ck_assert_int_eq(edgemind_run_begin(em, "m", &run), 0);
    say_to(server, layer_reply("1", page, page, WITH_ARENA PLACE(0, 0)), run_arena);
    say(stats_reply());
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    say(layer_reply("2", 2 * page, page, PLACE(1, 0)));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    say(layer_reply("3", 3 * page, page, PLACE(2, 0)));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    ck_assert_uint_eq(step.index, 2);
    for (int i = 0; i < 5; i++)
        hear_from(server);
}

START_TEST(a_run_goes_on)
{
    struct successor first = {.arena = run_arena}, second = {.arena = run_arena};

    hang_up();
    will_answer(&first, BEGUN("r2"));
    will_answer(&first, layer_reply("1", 3 * page, page, WITH_ARENA PLACE(2, 0)));
    will_answer(&first, layer_reply("2", page, page, PLACE(0, 1)));
    start(&first);
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    finish(&first, true);
    expect_calls(&first, CALL("BeginRun", "{\"model\":\"m\",\"at\":2}"), TAKE_STEP("r2"),
                 NEXT("r2"));
    ck_assert_uint_eq(step.index, 0);
    ck_assert_uint_eq(step.pass, 1);
    ck_assert_uint_eq(first_byte(step.layer), 11);

    /* Once more: the daemon counts from 0 again, the run does not. */
    hang_up();
    will_answer(&second, BEGUN("r3"));
    will_answer(&second, layer_reply("1", page, page, WITH_ARENA PLACE(0, 0)));
    will_answer(&second, layer_reply("2", 2 * page, page, PLACE(1, 0)));
    start(&second);
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    finish(&second, true);
    expect_calls(&second, CALL("BeginRun", "{\"model\":\"m\"}"), TAKE_STEP("r3"), NEXT("r3"));
    ck_assert_uint_eq(step.index, 1);
    ck_assert_uint_eq(step.pass, 1);
    say("{}");
    ck_assert_int_eq(edgemind_run_end(run), 0);
    expect_call(CALL("EndRun", "{\"run\":\"r3\"}"));
}
END_TEST

/* A run whose layer was refused holds none, and continues with that layer. */
START_TEST(a_run_between_layers)
{
    struct successor successor = {.arena = run_arena};

    say(REFUSAL("Busy"));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), -EBUSY);
    say(layer_reply("4", page, page, PLACE(0, 1)));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    say(REFUSAL("Busy"));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), -EBUSY);
    for (int i = 0; i < 3; i++)
        hear_from(server);
    hang_up();
    will_answer(&successor, BEGUN("r2"));
    will_answer(&successor, layer_reply("1", 4 * page, page, WITH_ARENA PLACE(1, 0)));
    will_answer(&successor, stats_reply()); /* nothing was held, so the map was given up */
    start(&successor);
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    finish(&successor, true);
    expect_calls(&successor, CALL("BeginRun", "{\"model\":\"m\",\"at\":1}"), NEXT("r2"), STATS);
    ck_assert_uint_eq(step.index, 1);
    ck_assert_uint_eq(step.pass, 1);
}
END_TEST

/* The program can repeat the step with the layer that edgemind_reconnect has acquired. */
START_TEST(a_run_loses_its_layer)
{
    struct successor loser = {.arena = run_arena}, finder = {.arena = run_arena};

    hang_up();
    will_answer(&loser, BEGUN("r2"));
    will_answer(&loser, filled_reply("1", 3 * page, page, 2, WITH_ARENA PLACE(2, 0)));
    start(&loser);
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), -ESTALE);
    finish(&loser, false);
    expect_lost("layer l of model m is lost");
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), -ESTALE);

    will_answer(&finder, BEGUN("r3"));
    will_answer(&finder, filled_reply("1", 5 * page, page, 2, WITH_ARENA PLACE(2, 0)));
    start(&finder);
    ck_assert_int_eq(edgemind_reconnect(em), 0);
    finish(&finder, true);
    say(layer_reply("2", page, page, PLACE(0, 1)));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    ck_assert_uint_eq(step.pass, 1);
    expect_call(NEXT("r3"));
}
END_TEST

static const struct {
    const char *begun, *step; /* what the new daemon answers; `step` may be NULL */
    int r;
    const char *text;
} bad_runs[] = {
    {REFUSAL("NotFound"), NULL, -ESTALE, "the run"},
    {"{\"parameters\":{\"run\":\"r2\",\"layers\":4}}", NULL, -ESTALE, "other layers"},
    {"{\"parameters\":{\"run\":\"r2\",\"layers\":2}}", NULL, -EBADMSG, "another version"},
    {BEGUN("r2"), PLACE(1, 0), -EBADMSG, "another version"},
    {BEGUN("r2"), PLACE(2, 1), -EBADMSG, "another version"},
    {BEGUN("r2"), "", -EBADMSG, "another version"},
};

START_TEST(a_run_that_cannot_go_on)
{
    struct successor successor = {.arena = run_arena};
    char further[256];

    if (_i == 0) { /* it need not have a layer to be lost */
        say(REFUSAL("Busy"));
        ck_assert_int_eq(edgemind_run_next(run, 0, &step), -EBUSY);
        hear_from(server);
    }
    hang_up();
    will_answer(&successor, bad_runs[_i].begun);
    if (bad_runs[_i].step) {
        snprintf(further, sizeof further, WITH_ARENA "%s", bad_runs[_i].step);
        will_answer(&successor, layer_reply("1", 3 * page, page, further));
    }
    start(&successor);
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), bad_runs[_i].r);
    finish(&successor, false);
    ck_assert_msg(strstr(edgemind_error_text(em), bad_runs[_i].text), "%s",
                  edgemind_error_text(em));
    if (bad_runs[_i].r == -ESTALE) {
        expect_lost("of model m is lost");
        ck_assert_int_eq(edgemind_run_end(run), -ESTALE);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libedgemind_run");
    TCase *tests = tcase_create("from the beginning");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, runs);
    tcase_add_loop_test(tests, bad_step, 0, (int)(sizeof bad_steps / sizeof *bad_steps));
    suite_add_tcase(suite, tests);
    TCase *running = tcase_create("from the last layer");
    tcase_add_checked_fixture(running, setup_run, teardown);
    tcase_add_test(running, a_run_goes_on);
    tcase_add_test(running, a_run_between_layers);
    tcase_add_test(running, a_run_loses_its_layer);
    tcase_add_loop_test(running, a_run_that_cannot_go_on, 0,
                        (int)(sizeof bad_runs / sizeof *bad_runs));
    suite_add_tcase(suite, running);
    return run_suite(suite);
}
