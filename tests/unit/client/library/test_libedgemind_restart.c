/* libedgemind when its daemon goes away and comes back: what goes on as if nothing had happened,
 * what is told to be lost, and what edgemind_reconnect gets anew. */
#include "tests/unit/played_daemon.h"
#include "tests/unit/run_suite.h"

#include <jansson.h>

#define ACQUIRE   CALL("Acquire", "{\"model\":\"m\",\"layer\":\"l\"}")
#define ACQUIRE_N CALL("Acquire", "{\"model\":\"n\",\"layer\":\"l\"}")
/* With the fill that the layer had: the lease is taken up. */
#define TAKE_UP       CALL("Acquire", "{\"model\":\"m\",\"layer\":\"l\",\"fill\":1}")
#define TAKE_UP_N     CALL("Acquire", "{\"model\":\"n\",\"layer\":\"l\",\"fill\":1}")
#define TAKE_STEP(id) CALL("Next", "{\"run\":\"" id "\",\"fill\":1}")
#define STATS         CALL("Stats", "{}")
#define NEXT(id)      CALL("Next", "{\"run\":\"" id "\"}")
#define BEGUN(id)     "{\"parameters\":{\"run\":\"" id "\",\"layers\":3}}"
#define PLACE(i, p)   ",\"index\":" #i ",\"pass\":" #p ",\"hit\":true"
#define REFUSAL(name) "{\"error\":\"io.edgemind.manager." name "\"}"

static int held_arena;
static struct edgemind_layer *held; /* in `held_arena`, over the first connection */

static void setup_held(void)
{
    setup();
    held_arena = new_arena(10);
    held = acquire_first(held_arena);
}

static void teardown_held(void)
{
    teardown();
    close(held_arena);
}

/* What acquire_first got, over a new connection. */
static void will_answer_the_same(struct successor *successor, const char *lease)
{
    will_answer(successor, layer_reply(lease, page, 10, WITH_ARENA));
}

/* Every call fails, and none says a word to the daemon. */
static void expect_lost(const char *text)
{
    struct edgemind_layer *layer;

    ck_assert_int_eq(edgemind_check(em), -ESTALE);
    ck_assert_int_eq(edgemind_acquire(em, "x", "l", 0, &layer), -ESTALE);
    ck_assert_ptr_null(edgemind_error_name(em));
    ck_assert_msg(strstr(edgemind_error_text(em), text), "%s", edgemind_error_text(em));
    expect_no_client();
}

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

/* The daemon dies over the call, and so do some that come after: the call is made again. */
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

/* A layer that is given back is taken up before, by its lease's new name: only so is it known
 * whether it was the same to the end. */
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

/* A daemon that is there when the layer is given back has kept it until then. */
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

/* The daemon may have come to know the model before it died. */
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

    /* Where the connection was lost before, the load waits for a new one. */
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

/* For a while that is bounded, and then once a call. */
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
    close(arena);
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
    close(arena);
}
END_TEST

/* What the new daemon says of the layer, and what of it is told. */
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
    int arena = new_arena(10), other = new_arena(60),
        given = losses[_i].other_arena ? other : arena;
    struct edgemind_layer *layer = acquire_first(arena), *second;
    struct successor loser = {.arena = given}, finder = {.arena = other};

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
    ck_assert_uint_eq(first_byte(layer), 11);

    will_answer(&finder, filled_reply("8", 2 * page, 10, 5, WITH_ARENA));
    will_answer(&finder, stats_reply());
    start(&finder);
    ck_assert_int_eq(edgemind_reconnect(em), 0);
    finish(&finder, true);
    ck_assert_int_eq(edgemind_check(em), 0);
    ck_assert_uint_eq(first_byte(layer), 62);
    ck_assert_int_eq(edgemind_release(layer), 0);
    expect_call(RELEASE("8"));
    close(arena);
    close(other);
}
END_TEST

/* What is no verdict on the layer: the next call asks again. */
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

/* What is lost is given back, and the rest goes on. */
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

/* Steps to the model's last layer of three. */
static struct edgemind_run *run_to_the_last(int arena)
{
    struct edgemind_run *run;
    struct edgemind_step step;

    say(BEGUN("r1"));
    ck_assert_int_eq(edgemind_run_begin(em, "m", &run), 0);
    say_to(server, layer_reply("1", page, page, WITH_ARENA PLACE(0, 0)), arena);
    say(stats_reply());
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    say(layer_reply("2", 2 * page, page, PLACE(1, 0)));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    say(layer_reply("3", 3 * page, page, PLACE(2, 0)));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    ck_assert_uint_eq(step.index, 2);
    for (int i = 0; i < 5; i++)
        hear_from(server);
    return run;
}

START_TEST(a_run_goes_on)
{
    int arena = new_arena(10);
    struct edgemind_run *run = run_to_the_last(arena);
    struct edgemind_step step;
    struct successor first = {.arena = arena}, second = {.arena = arena};

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
    close(arena);
}
END_TEST

/* One that was refused its layer has none, and goes on with it. */
START_TEST(a_run_between_layers)
{
    int arena = new_arena(10);
    struct edgemind_run *run = run_to_the_last(arena);
    struct edgemind_step step;
    struct successor successor = {.arena = arena};

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
    close(arena);
}
END_TEST

/* The step can be done once more, with what edgemind_reconnect got. */
START_TEST(a_run_loses_its_layer)
{
    int arena = new_arena(10);
    struct edgemind_run *run = run_to_the_last(arena);
    struct edgemind_step step;
    struct successor loser = {.arena = arena}, finder = {.arena = arena};

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
    close(arena);
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
    int arena = new_arena(10);
    struct edgemind_run *run = run_to_the_last(arena);
    struct edgemind_step step;
    struct successor successor = {.arena = arena};
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
    close(arena);
}
END_TEST

/* Told by a look at the file, though the connection stands. */
START_TEST(the_arena_is_cut)
{
    int arena = new_arena(10), other = new_arena(60);
    struct edgemind_layer *layer = acquire_first(arena), *second;
    struct successor successor = {.arena = other};

    ck_assert_int_eq(ftruncate(arena, (off_t)(2 * page)), 0);
    ck_assert_int_eq(edgemind_check(em), 0); /* all that is held is there */
    ck_assert_int_eq(ftruncate(arena, 0), 0);
    expect_lost("layer l of model m is lost");
    expect_silence();
    ck_assert_int_eq(edgemind_release(layer), -ESTALE);
    say(layer_reply("2", page, 10, "")); /* from a daemon that cannot be there */
    will_answer(&successor, layer_reply("7", 2 * page, 10, WITH_ARENA));
    will_answer(&successor, stats_reply());
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "n", "l", 0, &second), 0);
    expect_call(ACQUIRE_N);
    finish(&successor, true);
    ck_assert_uint_eq(first_byte(second), 62);
    close(arena);
    close(other);
}
END_TEST

/* It may be cut while a thread of the old daemon still keeps the connection. */
START_TEST(the_arena_is_cut_before_release)
{

    ck_assert_int_eq(ftruncate(held_arena, 0), 0);
    ck_assert_int_eq(edgemind_release(held), -ESTALE);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "layer l of model m is lost"));
    expect_call(RELEASE("1"));
    ck_assert_int_eq(edgemind_check(em), 0);
}
END_TEST

/* The daemon is replaced between its answer and the look at the arena. */
START_TEST(an_answer_from_the_grave)
{
    int arena = new_arena(10), other = new_arena(60);
    struct edgemind_layer *layer = acquire_first(arena);
    struct successor successor = {.arena = other};

    ck_assert_int_eq(edgemind_release(layer), 0);
    expect_call(RELEASE("1"));
    ck_assert_int_eq(ftruncate(arena, 0), 0);
    say(layer_reply("2", page, 10, ""));
    will_answer(&successor, layer_reply("7", 2 * page, 10, WITH_ARENA));
    will_answer(&successor, stats_reply());
    start(&successor);
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), 0);
    expect_call(ACQUIRE);
    finish(&successor, true);
    expect_calls(&successor, ACQUIRE, STATS, NULL);
    ck_assert_uint_eq(first_byte(layer), 62);
    close(arena);
    close(other);
}
END_TEST

START_TEST(reconnect_while_all_is_well)
{
    int arena = new_arena(40);
    struct edgemind_layer *layer = acquire_first(arena);
    const void *data = edgemind_layer_data(layer);
    const char *name = edgemind_layer_name(layer);
    struct edgemind_run *run;
    struct edgemind_step step;
    struct successor successor = {.arena = arena};

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
    ck_assert_ptr_eq(edgemind_layer_data(layer), data);
    ck_assert_ptr_eq(edgemind_layer_name(layer), name);
    ck_assert_uint_eq(first_byte(layer), 41);
    ck_assert_uint_eq(first_byte(step.layer), 40);
    say(layer_reply("79", 0, page, PLACE(1, 0)));
    ck_assert_int_eq(edgemind_run_next(run, 0, &step), 0);
    expect_call(NEXT("r2"));
    ck_assert_int_eq(edgemind_release(layer), 0);
    expect_call(RELEASE("77"));
    close(arena);
}
END_TEST

START_TEST(reconnect_to_another_arena)
{
    int arena = new_arena(50), other_arena = new_arena(60);
    struct edgemind_layer *layer = acquire_first(arena), *second;
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
    unsigned char bytes[] = {first_byte(layer), first_byte(second)};
    ck_assert_uint_eq(bytes[0] + bytes[1], 62 + 63);
    struct edgemind_tensor tensor;
    ck_assert_int_eq(edgemind_layer_find_tensor(layer, "w", &tensor), 0);
    ck_assert_ptr_eq(tensor.data, (const char *)edgemind_layer_data(layer) + 1);
    close(arena);
    close(other_arena);
}
END_TEST

/* All or nothing. */
START_TEST(reconnect_in_vain)
{
    int arena = new_arena(70);
    struct edgemind_layer *layer = acquire_first(arena);
    const void *data = edgemind_layer_data(layer);
    struct successor refusing = {0}, changed = {.arena = arena};

    will_answer(&refusing, REFUSAL("NotFound"));
    start(&refusing);
    ck_assert_int_eq(edgemind_reconnect(em), -ENOENT);
    finish(&refusing, false);
    will_answer(&changed, layer_reply("7", 2 * page, 11, WITH_ARENA)); /* a byte more */
    start(&changed);
    ck_assert_int_eq(edgemind_reconnect(em), -ESTALE);
    finish(&changed, false);
    ck_assert_ptr_null(edgemind_error_name(em));
    ck_assert_ptr_eq(edgemind_layer_data(layer), data);
    ck_assert_uint_eq(first_byte(layer), 71);
    /* The old connection goes on. */
    ck_assert_int_eq(edgemind_check(em), 0);
    ck_assert_int_eq(edgemind_release(layer), 0);
    expect_call(RELEASE("1"));
    close(arena);
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

static size_t n_allocations_left;

static void *allocate(size_t n_bytes)
{
    return n_allocations_left-- > 0 ? malloc(n_bytes) : NULL;
}

/* Every allocation of jansson's fails once: an error, and what was held is taken up by a later
 * call. */
START_TEST(out_of_memory)
{
    int arena = new_arena(10), r = -1;
    struct edgemind_layer *layer = acquire_first(arena);
    pthread_t thread;

    hang_up();
    ck_assert_int_eq(pthread_create(&thread, NULL, serve, &arena), 0);
    for (size_t n = 0; r < 0; n++) {
        ck_assert_uint_lt(n, 1000);
        edgemind_check(em);
        n_allocations_left = n;
        json_set_alloc_funcs(allocate, free);
        struct edgemind_run *run;
        r = edgemind_run_begin(em, "\xff", &run); /* takes up, and then cannot be said */
        json_set_alloc_funcs(malloc, free);
        r = edgemind_check(em);
    }
    ck_assert_uint_eq(first_byte(layer), 11);
    ck_assert_int_eq(edgemind_release(layer), 0);
    edgemind_free(em);
    em = NULL;
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libedgemind_restart");
    TCase *tests = tcase_create("libedgemind_restart");
    TCase *holding = tcase_create("libedgemind_restart, with a layer held");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_checked_fixture(holding, setup_held, teardown_held);
    tcase_add_test(holding, goes_on);
    tcase_add_test(holding, made_again);
    tcase_add_test(holding, given_back);
    tcase_add_test(holding, given_back_before_the_end);
    tcase_add_test(tests, a_load_is_not_made_again);
    tcase_add_test(holding, nobody_comes_back);
    tcase_add_test(tests, too_late);
    tcase_add_test(tests, rubbish);
    tcase_add_loop_test(tests, lost, 0, (int)(sizeof losses / sizeof *losses));
    tcase_add_test(holding, refused_for_now);
    tcase_add_test(holding, without_the_lost);
    tcase_add_test(tests, a_run_goes_on);
    tcase_add_test(tests, a_run_between_layers);
    tcase_add_test(tests, a_run_loses_its_layer);
    tcase_add_loop_test(tests, a_run_that_cannot_go_on, 0,
                        (int)(sizeof bad_runs / sizeof *bad_runs));
    tcase_add_test(tests, the_arena_is_cut);
    tcase_add_test(holding, the_arena_is_cut_before_release);
    tcase_add_test(tests, an_answer_from_the_grave);
    tcase_add_test(tests, reconnect_while_all_is_well);
    tcase_add_test(tests, reconnect_to_another_arena);
    tcase_add_test(tests, reconnect_in_vain);
    tcase_add_test(tests, never_connected);
    tcase_add_test(tests, out_of_memory);
    suite_add_tcase(suite, tests);
    suite_add_tcase(suite, holding);
    return run_suite(suite);
}
