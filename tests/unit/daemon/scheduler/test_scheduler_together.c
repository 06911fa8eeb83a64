/* Layers that must be resident at the same time: whether there is room for them. */
#include "daemon/scheduler/scheduler_together.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

/* An arena of eight pages; layers 0 to 3 have one page each, 4 and 5 two, 6 three, 7 seven. */
static struct fixture fixture;
static struct model *model;

static void begin(void)
{
    setup(&fixture, 8 * PAGE, &policy_lru);
    model = ADD_MODEL(&fixture, "m", 1, 1, 1, 1, 2, 2, 3, 7);
    fixture.log[0] = '\0';
}

/* `digits` are the indices of the layers. */
static enum decision decide(const char *digits)
{
    struct layer *layers[8];
    struct layer_set set = {.layers = layers, .n = (uint32_t)strlen(digits)};
    for (uint32_t i = 0; i < set.n; i++)
        layers[i] = &model->layers[digits[i] - '0'];
    enum decision decision = scheduler_decide_together(fixture.scheduler, &set);
    ck_assert_int_eq(scheduler_can_place_together(fixture.scheduler, &set),
                     decision == DECISION_LOADED);
    return decision;
}

START_TEST(test_room)
{
    begin();
    ck_assert_int_eq(decide("012345"), DECISION_LOADED); /* all of it */
    ck_assert_int_eq(decide("07"), DECISION_LOADED);
    assert_log(&fixture, "");
    ck_assert_int_eq(decide("017"), DECISION_OUT_OF_MEMORY);
    assert_log(&fixture, "! l0 out-of-memory; ");
    ck_assert_uint_eq(stats_of(&fixture).decisions[DECISION_OUT_OF_MEMORY], 1);

    /* What may be evicted is room, but not for itself. */
    load(&fixture, &model->layers[6], 0);
    ck_assert_int_eq(decide("012345"), DECISION_LOADED);
    ck_assert_int_eq(decide("601234"), DECISION_OUT_OF_MEMORY);
    ck_assert_int_eq(decide("60123"), DECISION_LOADED);
    fixture.log[0] = '\0';

    /* What is pinned is none, and needs none. */
    scheduler_pin(fixture.scheduler, &model->layers[6]);
    ck_assert_int_eq(decide("0124"), DECISION_LOADED);
    ck_assert_int_eq(decide("01245"), DECISION_BUSY);
    assert_log(&fixture, "! l0 busy; ");
    ck_assert_int_eq(decide("60124"), DECISION_LOADED);
    ck_assert_int_eq(decide("60145"), DECISION_OUT_OF_MEMORY);
    ck_assert_int_eq(decide("6245"), DECISION_LOADED);

    /* The same holds for what is loading. */
    reserve(&fixture, &model->layers[4]);
    ck_assert_int_eq(decide("0123"), DECISION_BUSY);
    ck_assert_int_eq(decide("012"), DECISION_LOADED);
    ck_assert_int_eq(decide("46012"), DECISION_LOADED);
    scheduler_abandon(fixture.scheduler, &model->layers[4]);
    ck_assert_int_eq(decide("0123"), DECISION_LOADED);
    scheduler_unpin(fixture.scheduler, &model->layers[6]);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_footprints_that_64_bits_do_not_hold)
{
    setup(&fixture, 8 * PAGE, &policy_lru);
    struct layer_definition layers[3] = {{.name = "l", .bytes = UINT64_MAX - 2 * PAGE},
                                         {.name = "l", .bytes = UINT64_MAX - 2 * PAGE},
                                         {.name = "l", .bytes = UINT64_MAX}};
    struct definition definition = define_by_hand("large", layers, 3);
    struct model *large = model_new(&definition);
    struct layer *const pointers[] = {&large->layers[0], &large->layers[1], &large->layers[2]};
    for (uint32_t n = 2; n <= 3; n++) {
        const struct layer_set set = {pointers, n, NULL};
        uint64_t bytes;
        scheduler_footprint_together(fixture.scheduler, &set, &bytes);
        ck_assert_uint_eq(bytes, UINT64_MAX);
        ck_assert_int_eq(scheduler_decide_together(fixture.scheduler, &set),
                         DECISION_OUT_OF_MEMORY);
    }
    model_free(large, NULL);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* A reload of any of them changes it. */
START_TEST(test_fill_id)
{
    begin();
    struct layer *const layers[] = {&model->layers[2], &model->layers[0]};
    const struct layer_set set = {layers, 2, NULL};
    load(&fixture, layers[0], 0);
    load(&fixture, layers[1], 0);
    uint64_t last = layer_set_fill_id(&set);
    ck_assert_uint_eq(last, layers[1]->fill_id);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, layers[i]), 0);
        load(&fixture, layers[i], 1);
        ck_assert_uint_gt(layer_set_fill_id(&set), last);
        last = layer_set_fill_id(&set);
    }
    scheduler_free(fixture.scheduler);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler_together");
    TCase *tcase = tcase_create("scheduler_together");
    tcase_add_test(tcase, test_room);
    tcase_add_test(tcase, test_footprints_that_64_bits_do_not_hold);
    tcase_add_test(tcase, test_fill_id);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
