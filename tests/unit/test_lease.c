/* Leases: what is held stays, whatever is asked for, and every way of letting go lets go of all. */
#include "daemon/lease.h"

#include "tests/unit/scheduler_fixture.h"

static const struct peer nobody = {.uid = 65534, .pid = 4711};

static const struct lease *take(struct holder *holder, struct layer *layer)
{
    const struct lease *lease = NULL;
    ck_assert_int_eq(lease_take(holder, layer, &lease), 0);
    return lease;
}

START_TEST(test_leased_layers_do_not_give_way)
{
    struct fixture fixture;
    struct leases leases;
    const struct policy *policy = _i == 0 ? &policy_flush_all : &policy_lru;
    setup(&fixture, 6 * PAGE, policy);
    leases_init(&leases, fixture.scheduler);
    struct model *model = ADD_MODEL(&fixture, "m", 2, 2, 2, 4, 5);
    struct holder *holder = holder_new(&leases, &nobody);
    for (unsigned i = 0; i < 3; i++)
        load(&fixture, &model->layers[i], i);
    take(holder, &model->layers[0]);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 2);

    struct verdict verdict =
        ask(&fixture, &model->layers[4], ON_FULL_EVICT, 9, OUTCOME_REFUSED, DECISION_BUSY);
    ck_assert_uint_eq(verdict.n_blockers, 0); /* nothing is loading */
    verdict_done(&verdict);

    fixture.log[0] = '\0';
    verdict =
        ask(&fixture, &model->layers[3], ON_FULL_EVICT, 9, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    ck_assert_uint_eq(verdict.victims.n_layers, 2);
    verdict_done(&verdict);
    assert_log(&fixture, _i == 0 ? "f 2; r l3; " : "e l1; e l2; r l3; ");
    scheduler_complete(fixture.scheduler, &model->layers[3], 9);
    assert_state(&fixture, &model->layers[0], LAYER_RESIDENT);
    ck_assert_uint_eq(stats_of(&fixture).layers_resident, 2);
    uint64_t bytes;
    ck_assert_uint_eq(scheduler_model_resident(fixture.scheduler, model, &bytes), 2);
    ck_assert_uint_eq(bytes, 6 * PAGE);

    holder_free(holder);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
    verdict =
        ask(&fixture, &model->layers[4], ON_FULL_ASK, 10, OUTCOME_REFUSED, DECISION_MUST_UNLOAD);
    ck_assert_uint_eq(verdict.victims.n_layers, 2);
    verdict_done(&verdict);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_held_twice_is_held_until_both_let_go)
{
    struct fixture fixture;
    struct leases leases;
    setup(&fixture, 4 * PAGE, &policy_flush_all);
    leases_init(&leases, fixture.scheduler);
    struct model *model = ADD_MODEL(&fixture, "m", 2, 2);
    struct layer *layer = &model->layers[0];
    struct holder *one = holder_new(&leases, &nobody), *other = holder_new(&leases, &nobody);
    load(&fixture, layer, 0);
    uint64_t first = take(one, layer)->id, second = take(one, layer)->id;
    uint64_t third = take(other, layer)->id;
    ck_assert_uint_ne(first, second);
    ck_assert_uint_ne(second, third);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 2);

    ck_assert_int_eq(lease_release(other, first), -ENOENT); /* somebody else's */
    ck_assert_int_eq(lease_release(one, first), 0);
    ck_assert_int_eq(lease_release(one, first), -ENOENT);
    ck_assert_int_eq(lease_release(one, second), 0);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, layer), -EBUSY);
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, model), -EBUSY);
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), -EBUSY);
    assert_state(&fixture, layer, LAYER_RESIDENT);

    holder_free(other);
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), 0);
    assert_state(&fixture, layer, LAYER_ABSENT);
    holder_free(one);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_a_hit_on_a_held_layer_and_a_dry_run)
{
    struct fixture fixture;
    struct leases leases;
    setup(&fixture, 4 * PAGE, &policy_lru);
    leases_init(&leases, fixture.scheduler);
    struct model *model = ADD_MODEL(&fixture, "m", 2, 2, 3);
    struct holder *holder = holder_new(&leases, &nobody);
    load(&fixture, &model->layers[0], 0);
    load(&fixture, &model->layers[1], 1);
    take(holder, &model->layers[0]);
    hit(&fixture, &model->layers[0], 2);
    hit(&fixture, &model->layers[1], 3);

    _cleanup_(scheduler_freep) struct scheduler *copy = NULL;
    ck_assert_int_eq(scheduler_clone(fixture.scheduler, &copy), 0);
    ck_assert_uint_eq(scheduler_pinned_pages(copy), 2);
    struct model *copied = scheduler_find_model(copy, "m");
    struct verdict verdict;
    ck_assert_int_eq(scheduler_request(copy, &copied->layers[2], ON_FULL_EVICT, 4, &verdict), 0);
    ck_assert_int_eq(verdict.decision, DECISION_BUSY);
    verdict_done(&verdict);
    ck_assert_uint_eq(stats_of(&fixture).decisions[DECISION_BUSY], 0);

    holder_free(holder);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_limit)
{
    struct fixture fixture;
    struct leases leases;
    setup(&fixture, PAGE, &policy_lru);
    leases_init(&leases, fixture.scheduler);
    struct model *model = ADD_MODEL(&fixture, "m", 1);
    struct holder *holder = holder_new(&leases, &nobody);
    const struct lease *lease;
    int r = 0;
    load(&fixture, &model->layers[0], 0);
    for (int i = 0; i < LEASES_PER_CONNECTION_MAX && r == 0; i++)
        r = lease_take(holder, &model->layers[0], &lease);
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq(lease_take(holder, &model->layers[0], &lease), -EMFILE);
    holder_free(holder);
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lease");
    TCase *tcase = tcase_create("lease");
    tcase_add_loop_test(tcase, test_leased_layers_do_not_give_way, 0, 2);
    tcase_add_test(tcase, test_held_twice_is_held_until_both_let_go);
    tcase_add_test(tcase, test_a_hit_on_a_held_layer_and_a_dry_run);
    tcase_add_test(tcase, test_limit);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed > 0;
}
