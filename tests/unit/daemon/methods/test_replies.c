/* Replies with as many elements as a reply may have. They are counted in jansson's values, of which
 * none is made for an element. */
#include "common/clock.h"
#include "daemon/methods/error_replies.h"
#include "daemon/methods/methods.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/server_fixture.h"

enum { N_LAYERS = 2000, N_LEASES = 1500, PAGE = 4096 };

static struct layer_definition layers[N_LAYERS];
static struct definition definition = {
    .n_refs = 1, .name = (char[]){"m"}, .layers = layers, .n_layers = N_LAYERS};
static struct manager manager;
static struct model *model;
static size_t n_allocations;

static void *count_allocation(size_t n_bytes)
{
    n_allocations++;
    return malloc(n_bytes);
}

/* All layers are resident; the first of them are leased. */
static void begin(void)
{
    struct arena *arena;
    struct model_refusal refusal;
    const struct lease *lease;
    setup();
    for (size_t i = 0; i < N_LAYERS; i++)
        layers[i] = (struct layer_definition){.name = i % 2 ? "odd" : "even", .bytes = PAGE};
    manager = (struct manager){.base = fixture.base, .handover = handover_new(0)};
    ck_assert_int_eq(arena_new(N_LAYERS * PAGE, PAGE, &arena), 0);
    ck_assert_int_eq(scheduler_new(arena, &policy_lru, &manager.scheduler), 0);
    ck_assert_int_eq(scheduler_add_model(manager.scheduler, &definition, &model, &refusal), 0);
    leases_init(&manager.leases, manager.scheduler);
    struct holder *holder = holder_new(&manager.leases, &(struct peer){.uid = 7, .pid = 8});
    bool failed = !holder || !manager.handover;
    for (size_t i = 0; i < N_LAYERS; i++) {
        struct verdict verdict;
        failed |=
            scheduler_request(manager.scheduler, &model->layers[i], ON_FULL_EVICT, 1, &verdict) < 0;
        scheduler_complete(manager.scheduler, &model->layers[i], 1);
        if (i < N_LEASES)
            failed |= lease_take(holder, &model->layers[i], NULL, &lease) < 0;
    }
    ck_assert(!failed);
}

static void end(void)
{
    holder_free(LIST_FIRST(&manager.leases.holders));
    scheduler_free(manager.scheduler);
    handover_free(manager.handover);
    teardown();
}

/* The call that the next reply answers. */
static struct call *next_call(struct client *client, const char *parameters)
{
    fixture.record.n_kept = 0;
    send_call(client, "Keep", parameters);
    PUMP_UNTIL(fixture.record.n_kept == 1);
    n_allocations = 0;
    json_set_alloc_funcs(count_allocation, free);
    return kept(0);
}

/* The elements of an array in the reply, for which no JSON value was made. */
static json_t *elements(struct client *client, const char *array, json_t **ret_reply)
{
    json_set_alloc_funcs(malloc, free);
    ck_assert_uint_lt(n_allocations, 10);
    *ret_reply = receive(client);
    json_t *found = json_object_get(json_object_get(*ret_reply, "parameters"), array);
    ck_assert_uint_eq(json_array_size(found), REPLY_ELEMENTS_MAX);
    return found;
}

static json_int_t number(const json_t *reply, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(reply, "parameters"), key));
}

START_TEST(busy)
{
    struct client *client = client_new();
    json_t *reply,
        *expected = json_pack("{s:s, s:s, s:i, s:b, s:s, s:i, s:i}", "model", "m", "layer", "odd",
                              "bytes", PAGE, "loading", 0, "user", "7", "uid", 7, "pid", 8);
    reply_busy(&manager, next_call(client, "{}"));
    json_t *leases = elements(client, "leases", &reply);
    ck_assert(json_equal(json_array_get(leases, REPLY_ELEMENTS_MAX - 1), expected));
    ck_assert_int_eq(number(reply, "leasesTotal"), N_LEASES);
    ck_assert_str_eq(json_string_value(json_object_get(reply, "error")),
                     "io.edgemind.manager.Busy");
    json_decref(expected);
    json_decref(reply);
}
END_TEST

START_TEST(must_unload)
{
    struct client *client = client_new();
    json_t *reply,
        *expected = json_pack("{s:s, s:s, s:i}", "model", "m", "layer", "even", "bytes", PAGE);
    struct verdict verdict = {0};
    for (size_t i = 0; i < N_LAYERS; i++)
        ck_assert_int_eq(victims_append(&verdict.victims, &model->layers[i]), 0);
    reply_load_end(&manager, next_call(client, "{}"),
                   &(struct load_end){.refusal = ERROR_MUST_UNLOAD,
                                      .layer = &model->layers[0],
                                      .verdict = &verdict});
    verdict_done(&verdict);
    ck_assert(json_equal(json_array_get(elements(client, "victims", &reply), 0), expected));
    ck_assert_int_eq(number(reply, "victimsTotal"), N_LAYERS);
    ck_assert_str_eq(json_string_value(json_object_get(reply, "error")),
                     "io.edgemind.manager.MustUnload");
    json_decref(expected);
    json_decref(reply);
}
END_TEST

START_TEST(list)
{
    struct client *client = client_new();
    json_t *reply,
        *expected = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i}", "name", "even", "state", "resident",
                              "bytes", PAGE, "footprintBytes", PAGE, "extents", 1, "tensors", 0);
    method_list(next_call(client, _i ? "{\"model\":\"m\",\"used\":true}" : "{\"model\":\"m\"}"),
                &manager);
    json_t *first = json_array_get(elements(client, "layers", &reply), 0);
    /* All layers were loaded a microsecond after the monotonic clock began. */
    uint64_t began_usec = clock_realtime_usec() - clock_monotonic_usec();
    json_int_t used_at_usec = json_integer_value(json_object_get(first, "usedAtUsec"));
    ck_assert_int_le(llabs(used_at_usec - (_i ? (json_int_t)began_usec : 0)), 60 * 1000 * 1000);
    ck_assert_int_eq(json_object_del(first, "usedAtUsec"), _i ? 0 : -1);
    ck_assert_int_eq(json_integer_value(json_object_get(first, "usedPercent")), _i ? 100 : 0);
    ck_assert_int_eq(json_object_del(first, "usedPercent"), _i ? 0 : -1);
    ck_assert(json_equal(first, expected));
    ck_assert_int_eq(number(reply, "total"), N_LAYERS);
    json_decref(expected);
    json_decref(reply);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replies");
    TCase *tcase = tcase_create("replies");
    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, busy);
    tcase_add_test(tcase, must_unload);
    tcase_add_loop_test(tcase, list, 0, 2);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
