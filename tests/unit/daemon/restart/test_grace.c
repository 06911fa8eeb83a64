/* Layers that were leased before a restart stay until all their leases are taken up, or the grace
 * is over. */
#include "daemon/restart/grace.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

enum { N_LAYERS = 3 };

/* A full arena, with all of its layers waiting: the first for one holder, the last for N_LAYERS. */
static struct model *begin(struct fixture *fixture, struct grace *grace)
{
    setup(fixture, N_LAYERS * PAGE, &policy_lru);
    struct model *model = ADD_MODEL(fixture, "m", 1, 1, 1);
    struct grace_layer *layers = calloc(N_LAYERS, sizeof *layers);
    for (unsigned i = 0; i < N_LAYERS; i++) {
        load(fixture, &model->layers[i], i);
        layers[i] = (struct grace_layer){&model->layers[i], i + 1, false};
    }
    grace_begin(grace, fixture->scheduler, layers, N_LAYERS);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture->scheduler), N_LAYERS);
    return model;
}

START_TEST(test_over)
{
    struct fixture fixture;
    struct grace grace;
    struct model *model = begin(&fixture, &grace);

    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &model->layers[1]), -EBUSY);
    ck_assert(!grace_end(&grace));
    ck_assert_uint_eq(grace.n_layers, 0);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
    grace_take_up(&grace, &model->layers[1]);
    ck_assert(!grace_end(&grace));
    ck_assert_int_eq(scheduler_reset(fixture.scheduler), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

START_TEST(test_taken_up)
{
    struct fixture fixture;
    struct grace grace;
    struct model *model = begin(&fixture, &grace);
    struct layer *layer = &model->layers[_i];

    /* Each client releases the layer before the next one comes. */
    for (int i = 0; i <= _i; i++) {
        ck_assert_uint_eq(grace.n_layers, N_LAYERS);
        scheduler_pin(fixture.scheduler, layer);
        grace_take_up(&grace, layer);
        ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, layer), -EBUSY);
        scheduler_unpin(fixture.scheduler, layer);
    }
    ck_assert_uint_eq(grace.n_layers, N_LAYERS - 1);
    grace_take_up(&grace, layer);
    ck_assert_uint_eq(grace.n_layers, N_LAYERS - 1);
    for (size_t i = 0; i < grace.n_layers; i++)
        ck_assert_ptr_ne(grace.layers[i].layer, layer);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, layer), 0);
    for (int i = 0; i < N_LAYERS; i++)
        assert_state(&fixture, &model->layers[i], i == _i ? LAYER_ABSENT : LAYER_RESIDENT);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), N_LAYERS - 1);
    ck_assert(!grace_end(&grace));
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* After a start that is not a restart, and after one without leases. */
START_TEST(test_none)
{
    struct fixture fixture;
    struct grace grace = {0};

    setup(&fixture, PAGE, &policy_lru);
    struct model *model = ADD_MODEL(&fixture, "m", 1);
    load(&fixture, &model->layers[0], 0);
    for (int i = 0; i < 2; i++) {
        grace_take_up(&grace, &model->layers[0]);
        ck_assert(!grace_end(&grace));
        grace_begin(&grace, fixture.scheduler, NULL, 0);
    }
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

/* Layers whose clients had locks end alone, and more leases than a turn may end take several. */
START_TEST(test_mapped)
{
    enum { MANY = 2 * GRACE_PORTION + 1 };
    struct fixture fixture;
    struct grace grace;

    setup(&fixture, N_LAYERS * PAGE, &policy_lru);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1);
    struct grace_layer *layers = calloc(N_LAYERS, sizeof *layers);
    for (unsigned i = 0; i < N_LAYERS; i++) {
        load(&fixture, &model->layers[i], i);
        layers[i] = (struct grace_layer){&model->layers[i], i == 2 ? MANY : 1, i != 1};
    }
    grace_begin(&grace, fixture.scheduler, layers, N_LAYERS);
    ck_assert(grace_has_mapped(&grace));
    ck_assert_uint_eq(model->layers[2].n_pins, MANY);
    ck_assert_uint_eq(model->layers[2].n_mapped_pins, MANY);
    ck_assert_uint_eq(model->layers[1].n_mapped_pins, 0);

    scheduler_pin(fixture.scheduler, &model->layers[0]);
    grace_take_up(&grace, &model->layers[0]);
    ck_assert_uint_eq(model->layers[0].n_pins, 1);
    ck_assert_uint_eq(model->layers[0].n_mapped_pins, 0);

    ck_assert(grace_end_mapped(&grace));
    ck_assert_uint_eq(model->layers[2].n_pins, MANY - GRACE_PORTION);
    ck_assert(grace_end_mapped(&grace));
    ck_assert(!grace_end_mapped(&grace));
    ck_assert(!grace_has_mapped(&grace));
    ck_assert_uint_eq(model->layers[2].n_pins, 0);
    ck_assert_uint_eq(model->layers[2].n_mapped_pins, 0);
    ck_assert_uint_eq(grace.n_layers, 1);
    ck_assert_uint_eq(model->layers[1].n_pins, 1);
    ck_assert(!grace_end(&grace));
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 1);
    scheduler_unpin(fixture.scheduler, &model->layers[0]);
    scheduler_free(fixture.scheduler);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grace");
    TCase *tcase = tcase_create("grace");
    tcase_add_test(tcase, test_over);
    tcase_add_loop_test(tcase, test_taken_up, 0, N_LAYERS);
    tcase_add_test(tcase, test_none);
    tcase_add_test(tcase, test_mapped);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
