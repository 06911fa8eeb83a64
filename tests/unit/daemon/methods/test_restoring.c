/* The model that was replaced is registered again, in turns of the loop and on a worker. */
#include "daemon/methods/restoring.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/server_fixture.h"

#include <pthread.h>

enum { N_LAYERS = 5 * SCHEDULER_PORTION, PAGE = 4096 };

static struct layer_definition layers[N_LAYERS];
static struct definition before = {
    .n_refs = 1, .name = (char[]){"m"}, .layers = layers, .n_layers = N_LAYERS};
static struct definition after = {
    .n_refs = 1, .name = (char[]){"m"}, .layers = layers, .n_layers = N_LAYERS};
static struct manager manager;
static struct model *failed;
static struct restoring restoring;
static struct client *client;
static pthread_t loop;
static bool is_gone;
static unsigned n_prepared, n_prepared_on_loop, n_forgotten, n_ended;

static void prepare(const struct definition *definition, void *context)
{
    (void)context;
    n_prepared += definition == &before;
    n_prepared_on_loop += pthread_equal(pthread_self(), loop) != 0;
}

static void forget(const struct definition *definition, void *context)
{
    (void)context;
    n_forgotten += definition == &before;
}

static void ended(void *context)
{
    (void)context;
    n_ended++;
}

/* All layers of the model that failed are resident. */
static void begin(void)
{
    struct arena *arena;
    struct model_refusal refusal;
    setup();
    is_gone = false;
    n_prepared = n_prepared_on_loop = n_forgotten = n_ended = 0;
    loop = pthread_self();
    for (size_t i = 0; i < N_LAYERS; i++)
        layers[i] = (struct layer_definition){.name = "l", .bytes = PAGE};
    manager = (struct manager){.base = fixture.base, .preparation = {prepare, forget, NULL}};
    ck_assert_int_eq(workers_new(1, false, &manager.planners), 0);
    ck_assert_int_eq(arena_new(N_LAYERS * PAGE, PAGE, &arena), 0);
    ck_assert_int_eq(scheduler_new(arena, &policy_lru, &manager.scheduler), 0);
    ck_assert_int_eq(scheduler_add_model(manager.scheduler, &after, &failed, &refusal), 0);
    for (size_t i = 0; i < N_LAYERS; i++) {
        struct verdict verdict;
        if (scheduler_request(manager.scheduler, &failed->layers[i], ON_FULL_EVICT, 1, &verdict))
            ck_abort();
        scheduler_complete(manager.scheduler, &failed->layers[i], 1);
    }
    client = client_new();
    send_call(client, "Keep", "{}");
    PUMP_UNTIL(fixture.record.n_kept == 1);
    restoring_begin(&restoring, &manager, kept(0),
                    &(struct load_end){.error = -EIO, .layer = failed->layers}, &before, ended,
                    NULL);
    ck_assert_int_eq(scheduler_remove_model(manager.scheduler, failed), -EBUSY); /* it is held */
}

static void end(void)
{
    workers_free(manager.planners);
    if (is_gone)
        call_reply(kept(0), NULL);
    else
        expect(client, "{\"error\":\"io.edgemind.manager.IOFailed\","
                       "\"parameters\":{\"operation\":\"load\",\"errnoName\":\"EIO\"}}");
    scheduler_free(manager.scheduler);
    teardown();
}

static uint64_t n_resident(void)
{
    struct scheduler_stats now;
    scheduler_get_stats(manager.scheduler, &now);
    return now.layers_resident;
}

static const struct definition *registered(void)
{
    return scheduler_find_model(manager.scheduler, "m")->definition;
}

static void wait_for_worker(void)
{
    struct pollfd fd = {.fd = workers_fd(manager.planners), .events = POLLIN};
    ck_assert_int_eq(poll(&fd, 1, GIVE_UP_USEC / 1000), 1);
    workers_dispatch(manager.planners);
}

START_TEST(no_turn_does_it_all)
{
    ck_assert_uint_eq(n_resident(), N_LAYERS);
    wait_for_worker();
    unsigned n_turns = 0;
    for (uint64_t left = N_LAYERS; n_ended == 0; n_turns++) {
        ck_assert_uint_le(left - n_resident(), SCHEDULER_PORTION);
        left = n_resident();
        event_base_loop(fixture.base, EVLOOP_ONCE);
    }
    ck_assert_uint_ge(n_turns, N_LAYERS / SCHEDULER_PORTION - 1);
    ck_assert_ptr_eq(registered(), &before);
    ck_assert(n_prepared == 1 && n_prepared_on_loop == 0 && n_forgotten == 0);
}
END_TEST

/* A client has leased a layer of the new model meanwhile: that one stays. */
START_TEST(a_model_in_use_stays)
{
    scheduler_pin(manager.scheduler, &failed->layers[N_LAYERS - 1]);
    wait_for_worker();
    PUMP_UNTIL(n_ended == 1);
    ck_assert_ptr_eq(registered(), &after);
    ck_assert(n_prepared == 1 && n_forgotten == 1);
    scheduler_unpin(manager.scheduler, &failed->layers[N_LAYERS - 1]);
}
END_TEST

/* The client goes away while the worker works (0), or while the layers are evicted. */
START_TEST(nobody_waits_for_it)
{
    if (_i == 1)
        wait_for_worker();
    is_gone = true;
    restoring_without_call(&restoring);
    if (_i == 0)
        wait_for_worker();
    ck_assert_uint_eq(n_ended, 1);
    ck_assert_ptr_eq(registered(), &before);
}
END_TEST

/* The daemon ends before the worker has begun, or after. */
START_TEST(the_daemon_ends)
{
    is_gone = true;
    restoring_without_call(&restoring);
    manager.planners = workers_free(manager.planners);
    ck_assert_uint_eq(n_ended, 1);
    ck_assert_int_eq(workers_new(1, false, &manager.planners), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("restoring");
    TCase *tcase = tcase_create("restoring");
    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, no_turn_does_it_all);
    tcase_add_test(tcase, a_model_in_use_stays);
    tcase_add_loop_test(tcase, nobody_waits_for_it, 0, 2);
    tcase_add_test(tcase, the_daemon_ends);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
