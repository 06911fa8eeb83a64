/* Leases of several units: they begin and end together, and each counts. */
#include "daemon/methods/lease.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

static const struct peer nobody = {.uid = 65534, .pid = 4711};
static struct fixture fixture;
static struct leases leases;
static struct holder *holder;

static void begin(void)
{
    setup(&fixture, 9 * PAGE, &policy_lru);
    leases_init(&leases, fixture.scheduler);
    holder = holder_new(&leases, &nobody);
}

static void end(void)
{
    holder = holder_free(holder);
    scheduler_free(fixture.scheduler);
}

/* Pages that are wanted count once, too, and not if they are leased already. */
START_TEST(test_pages_that_one_wants)
{
    const struct lease *lease;
    struct model *model = ADD_MODEL(&fixture, "m", 1, 2, 4, 8);
    load(&fixture, &model->layers[1], 0);
    ck_assert_int_eq(lease_take(holder, &model->layers[1], NULL, &lease), 0);
    struct layer *const layers[] = {&model->layers[3], &model->layers[1], &model->layers[0]};
    ck_assert_uint_eq(holder_pages(holder, &(struct layer_set){layers, 1, NULL}), 8 + 2);
    ck_assert_uint_eq(holder_pages(holder, &(struct layer_set){layers, 3, NULL}), 8 + 2 + 1);
    ck_assert_uint_eq(holder_pages(holder, NULL), 2);
}
END_TEST

/* One release ends the leases of all units, and no others. */
START_TEST(test_units)
{
    const struct lease *lease;
    struct model *model = ADD_MODEL(&fixture, "m", 1, 2, 4);
    load_all(&fixture, model);
    struct layer *const layers[] = {&model->layers[2], &model->layers[0]};
    ck_assert_int_eq(lease_take(holder, &model->layers[0], NULL, &lease), 0);
    uint64_t before = lease->id;
    ck_assert_int_eq(lease_take_units(holder, &(struct layer_set){layers, 2, "m"}, &lease), 0);
    uint64_t units = lease->id;
    ck_assert_int_eq(lease_take(holder, &model->layers[1], NULL, &lease), 0);
    uint64_t after = lease->id;
    ck_assert_uint_eq(holder->n_leases, 4);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 7);

    ck_assert_int_eq(lease_release(holder, units), 0);
    ck_assert_int_eq(lease_release(holder, units), -ENOENT);
    ck_assert_uint_eq(holder->n_leases, 2);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 3);
    ck_assert_int_eq(lease_release(holder, after), 0);
    ck_assert_int_eq(lease_release(holder, before), 0);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);

    ck_assert_int_eq(lease_take_units(holder, &(struct layer_set){layers, 2, "m"}, &lease), 0);
    holder = holder_free(holder);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
}
END_TEST

/* Each unit counts. What is refused holds nothing. */
START_TEST(test_limit_with_units)
{
    const struct lease *lease = NULL;
    int r = 0;
    struct model *model = ADD_MODEL(&fixture, "m", 1, 2, 4);
    load_all(&fixture, model);
    struct layer *const layers[] = {&model->layers[0], &model->layers[1], &model->layers[2]};
    const struct layer_set set = {layers, 3, "m"};
    for (unsigned i = 0; i < LEASES_PER_CONNECTION_MAX / 3 && r == 0; i++)
        r = lease_take_units(holder, &set, &lease);
    ck_assert_int_eq(r, 0);
    ck_assert_uint_eq(holder->n_leases, LEASES_PER_CONNECTION_MAX - 1);
    ck_assert_int_eq(lease_take_units(holder, &set, &lease), -EMFILE);
    ck_assert_uint_eq(holder->n_leases, LEASES_PER_CONNECTION_MAX - 1);
    ck_assert_int_eq(lease_take(holder, layers[0], NULL, &lease), 0);
    ck_assert_int_eq(lease_take(holder, layers[0], NULL, &lease), -EMFILE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lease_units");
    TCase *tcase = tcase_create("lease_units");
    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, test_pages_that_one_wants);
    tcase_add_test(tcase, test_units);
    tcase_add_test(tcase, test_limit_with_units);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
