/* Leases: held layers stay whatever is requested, and every kind of end releases all of them. */
#include "daemon/methods/lease.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

static const struct peer nobody = {.uid = 65534, .pid = 4711};

static const struct lease *take(struct holder *holder, struct layer *layer)
{
    const struct lease *lease = NULL;
    ck_assert_int_eq(lease_take(holder, layer, NULL, &lease), 0);
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
        r = lease_take(holder, &model->layers[0], NULL, &lease);
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq(lease_take(holder, &model->layers[0], NULL, &lease), -EMFILE);
    holder_free(holder);
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_limit_of_a_user)
{
    enum { N_HOLDERS = LEASES_PER_USER_MAX / LEASES_PER_CONNECTION_MAX };
    struct fixture fixture;
    struct leases leases;
    struct peer somebody = {.uid = 1000};
    setup(&fixture, PAGE, &policy_lru);
    leases_init(&leases, fixture.scheduler);
    struct model *model = ADD_MODEL(&fixture, "m", 1);
    struct holder *holders[N_HOLDERS], *one_more = holder_new(&leases, &nobody),
                                       *other = holder_new(&leases, &somebody);
    const struct lease *lease = NULL, *none = NULL;
    int r = 0;
    load(&fixture, &model->layers[0], 0);
    for (int i = 0; i < N_HOLDERS; i++) {
        holders[i] = holder_new(&leases, &nobody);
        for (int j = 0; j < LEASES_PER_CONNECTION_MAX && r == 0; j++)
            r = lease_take(holders[i], &model->layers[0], NULL, &lease);
    }
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq(lease_take(one_more, &model->layers[0], NULL, &none), -EDQUOT);
    ck_assert_ptr_null(none);
    take(other, &model->layers[0]);
    ck_assert_int_eq(lease_release(holders[N_HOLDERS - 1], lease->id), 0);
    take(one_more, &model->layers[0]);
    ck_assert_int_eq(lease_take(one_more, &model->layers[0], NULL, &none), -EDQUOT);
    holder_free(holders[0]);
    take(one_more, &model->layers[0]);
    for (int i = 1; i < N_HOLDERS; i++)
        holder_free(holders[i]);
    holder_free(one_more);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 1);
    holder_free(other);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_pages_that_one_holds)
{
    struct fixture fixture;
    struct leases leases;
    setup(&fixture, 9 * PAGE, &policy_lru);
    leases_init(&leases, fixture.scheduler);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 2, 4);
    struct holder *one = holder_new(&leases, &nobody), *other = holder_new(&leases, &nobody);
    load_all(&fixture, model);
    ck_assert_uint_eq(holder_pages(one, NULL), 0);
    take(one, &model->layers[1]);
    uint64_t again = take(one, &model->layers[1])->id;
    take(one, &model->layers[2]);
    take(other, &model->layers[1]);
    take(other, &model->layers[0]);
    for (unsigned i = 0; i < 2; i++) { /* counting leaves nothing behind */
        ck_assert_uint_eq(holder_pages(one, NULL), 2 + 4);
        ck_assert_uint_eq(holder_pages(other, NULL), 2 + 1);
        ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 7);
    }
    ck_assert_int_eq(lease_release(one, again), 0);
    ck_assert_uint_eq(holder_pages(one, NULL), 2 + 4);
    holder_free(other);
    holder_free(one);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* A run's lease belongs to the run: it ends when the run leaves the layer, and with the run. */
START_TEST(test_leases_of_a_run)
{
    struct fixture fixture;
    struct leases leases;
    setup(&fixture, 9 * PAGE, &policy_next_use);
    leases_init(&leases, fixture.scheduler);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 2);
    struct holder *holder = holder_new(&leases, &nobody);
    struct client_run *run = NULL;
    load_all(&fixture, model);
    ck_assert_int_eq(client_run_begin(holder, model, &run), 0);
    ck_assert_ptr_null(run->lease);
    ck_assert_ptr_eq(client_run_find(holder, run->id), run);
    ck_assert_ptr_null(client_run_find(holder, run->id + 1));
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, model), -EBUSY);
    client_run_leave(run, 5); /* there is nothing to leave */

    ck_assert_int_eq(client_run_enter(run, 10), 0);
    ck_assert_ptr_eq(run->lease->layer, &model->layers[0]);
    ck_assert_ptr_eq(run->run->next, &model->layers[1]);
    ck_assert_uint_ne(run->lease->id, run->id);
    ck_assert_int_eq(lease_release(holder, run->lease->id), -ENOENT);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 1);
    client_run_leave(run, 15);
    ck_assert_ptr_null(run->lease);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
    ck_assert_int_eq(client_run_enter(run, 20), 0);
    ck_assert_uint_eq(run->run->n_passes, 1);
    client_run_leave(run, 27);
    ck_assert_uint_eq(model->compute_usec, 5 + 7);

    ck_assert_int_eq(client_run_enter(run, 30), 0);
    uint64_t lease = run->lease->id;
    ck_assert_ptr_null(client_run_end(run));
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
    ck_assert_int_eq(lease_release(holder, lease), -ENOENT);
    ck_assert_uint_eq(holder->n_leases, 0);
    ck_assert_uint_eq(holder->n_runs, 0);
    ck_assert_ptr_null(client_run_end(NULL));
    ck_assert_int_eq(scheduler_remove_model(fixture.scheduler, model), 0);
    holder_free(holder);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_limits_of_runs)
{
    struct fixture fixture;
    struct leases leases;
    setup(&fixture, PAGE, &policy_next_use);
    leases_init(&leases, fixture.scheduler);
    struct model *model = ADD_MODEL(&fixture, "m", 1);
    struct holder *holders[RUNS_OF_MEMBERS_MAX / RUNS_PER_CONNECTION_MAX];
    enum { N_HOLDERS = sizeof holders / sizeof *holders, PER_USER = 4 };
    _Static_assert(PER_USER * RUNS_PER_CONNECTION_MAX == RUNS_PER_USER_MAX, "a user's connections");
    struct client_run *run = NULL, *none = NULL;
    int r = 0;
    load(&fixture, &model->layers[0], 0);
    for (unsigned i = 0; i < N_HOLDERS; i++) {
        holders[i] =
            holder_new(&leases, &(struct peer){.uid = 1 + i / PER_USER, .tier = TIER_MEMBER});
        for (unsigned j = 0; j < RUNS_PER_CONNECTION_MAX && r == 0; j++)
            r = client_run_begin(holders[i], model, &run);
    }
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq(client_run_begin(holders[0], model, &none), -EMFILE);
    struct holder *same_user = holder_new(&leases, &(struct peer){.uid = 1, .tier = TIER_MEMBER});
    ck_assert_int_eq(client_run_begin(same_user, model, &none), -EDQUOT);
    holder_free(same_user);
    struct holder *one_more = holder_new(&leases, &(struct peer){.uid = 99, .tier = TIER_MEMBER});
    ck_assert_int_eq(client_run_begin(one_more, model, &none), -EUSERS);
    ck_assert_ptr_null(none);
    ck_assert_uint_eq(stats_of(&fixture).n_runs, RUNS_OF_MEMBERS_MAX);

    /* Some runs are reserved for administrators. */
    struct holder *root = holder_new(&leases, &(struct peer){.uid = 0, .tier = TIER_ADMIN});
    struct client_run *of_root;
    for (unsigned i = 0; i < SCHEDULER_RUNS_MAX - RUNS_OF_MEMBERS_MAX; i++)
        ck_assert_int_eq(client_run_begin(root, model, &of_root), 0);
    ck_assert_uint_eq(stats_of(&fixture).n_runs, SCHEDULER_RUNS_MAX);
    holder_free(root);
    client_run_end(run);
    ck_assert_int_eq(client_run_begin(one_more, model, &run), 0);

    /* If no lease is possible, the run keeps its place. */
    const struct lease *lease;
    for (int i = 0; i < LEASES_PER_CONNECTION_MAX && r == 0; i++)
        r = lease_take(one_more, &model->layers[0], NULL, &lease);
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq(client_run_enter(run, 1), -EMFILE);
    ck_assert_ptr_null(run->lease);
    ck_assert_uint_eq(run->run->n_passes, 0);
    ck_assert_int_eq(lease_release(one_more, lease->id), 0);
    ck_assert_int_eq(client_run_enter(run, 1), 0);
    ck_assert_uint_eq(run->run->n_passes, 1);

    for (unsigned i = 0; i < N_HOLDERS; i++)
        holder_free(holders[i]);
    ck_assert_uint_eq(stats_of(&fixture).n_runs, 1);
    holder_free(one_more); /* with leases, and a run that holds one */
    ck_assert_uint_eq(stats_of(&fixture).n_runs, 0);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
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
    tcase_add_test(tcase, test_limit_of_a_user);
    tcase_add_test(tcase, test_pages_that_one_holds);
    tcase_add_test(tcase, test_leases_of_a_run);
    tcase_add_test(tcase, test_limits_of_runs);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
