/* next-use: its victims in small cases. Random ones are test_next_use_property's. */
#include "tests/unit/next_use_fixture.h"
#include "tests/unit/run_suite.h"

START_TEST(test_without_runs)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 1, 2, 4);
    use(&world, &a->layers[2]);
    use(&world, &a->layers[0]);
    use(&world, &a->layers[1]);
    assert_victims(&world, NULL, 1, "a2");
    assert_victims(&world, NULL, 4, "a2");
    assert_victims(&world, NULL, 5, "a2 a0");
    /* With the last one, the first is not needed. */
    assert_victims(&world, NULL, 6, "a2 a1");
    assert_victims(&world, NULL, 7, "a2 a0 a1");
    teardown(&world);
}
END_TEST

START_TEST(test_one_run)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 2, 2, 2, 2, 2);
    use_all(&world, a);
    add_run(&world, a, 2);
    /* 1 is used last, then 0, 4, 3, 2. */
    assert_victims(&world, NULL, 2, "a1");
    assert_victims(&world, NULL, 3, "a1 a0");
    assert_victims(&world, NULL, 9, "a1 a0 a4 a3 a2");
    a->kept->keep[1] = true;
    a->kept->keep[4] = true;
    a->layers[0].ahead = 1;
    a->layers[1].ahead = 1; /* this decides */
    assert_victims(&world, NULL, 10, "a3 a2 a4 a1 a0");
    teardown(&world);
}
END_TEST

START_TEST(test_runs_of_one_model)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 1, 1, 1, 1, 1, 1);
    use_all(&world, a);
    add_run(&world, a, 5);
    add_run(&world, a, 1);
    add_run(&world, a, 1); /* two at the same place */
    /* From 1 on: 1 2 3 4 at 0 to 3; from 5 on: 5 0 at 0 and 1. Of those that are as far, any. */
    assert_victims(&world, NULL, 2, "a4 a3");
    struct victims victims;
    ck_assert_int_eq(choose(&world, NULL, 6, &victims), 0);
    ck_assert_uint_eq(victims.n_layers, 6);
    ck_assert_uint_eq(victims.layers[2]->index + victims.layers[3]->index, 2 + 0);
    ck_assert_uint_eq(victims.layers[4]->index + victims.layers[5]->index, 1 + 5);
    victims_done(&victims);
    teardown(&world);
}
END_TEST

/* Distances are in bytes, so a layer of a model with small layers is nearer than its index
 * suggests. */
START_TEST(test_runs_of_several_models)
{
    struct world world;
    setup(&world);
    struct model *none = ADD_MODEL(&world, 3, 3), *small = ADD_MODEL(&world, 1, 1, 1, 1),
                 *large = ADD_MODEL(&world, 10, 10);
    use_all(&world, small);
    use_all(&world, large);
    use_all(&world, none);
    add_run(&world, small, 0);
    add_run(&world, large, 1);
    assert_victims(&world, NULL, 1, "a0");
    assert_victims(&world, NULL, 5, "a0 a1");
    assert_victims(&world, NULL, 16, "a0 a1 c0");
    assert_victims(&world, NULL, 19, "a0 a1 c0 b3 b2 b1");
    teardown(&world);
}
END_TEST

START_TEST(test_reading_ahead)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 2, 2, 2, 2, 2, 2), *none = ADD_MODEL(&world, 2);
    add_run(&world, a, 1);
    for (uint32_t i = 0; i < 6; i++)
        if (i != 3)
            use(&world, &a->layers[i]);
    const struct layer *target = &a->layers[3];
    /* Later than 3 are 4, 5 and 0; not 1 and 2. */
    assert_victims(&world, target, 2, "a0");
    assert_victims(&world, target, 6, "a0 a5 a4");
    assert_victims(&world, target, 7, NULL);
    a->kept->keep[5] = true;
    assert_victims(&world, target, 4, "a0 a4");
    assert_victims(&world, target, 5, NULL);
    a->layers[4].ahead = 1;
    assert_victims(&world, target, 2, "a0");
    assert_victims(&world, target, 3, NULL);
    /* Layers that no run uses come first. */
    use(&world, &none->layers[0]);
    assert_victims(&world, target, 2, "b0");
    assert_victims(&world, target, 4, "b0 a0");
    /* A layer that is needed now may evict all others. */
    assert_victims(&world, NULL, 12, "b0 a0 a2 a1 a5 a4");
    teardown(&world);
}
END_TEST

START_TEST(test_spares_needless_victims)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 5, 9, 1, 3, 1);
    use_all(&world, a);
    add_run(&world, a, 0);
    assert_victims(&world, NULL, 1, "a4");
    assert_victims(&world, NULL, 4, "a4 a3");
    assert_victims(&world, NULL, 3, "a3"); /* then 4 is not needed */
    assert_victims(&world, NULL, 6, "a1"); /* 4, 3 and 2 are */
    assert_victims(&world, NULL, 10, "a4 a1");
    assert_victims(&world, NULL, 12, "a3 a1");
    teardown(&world);
}
END_TEST

START_TEST(test_passes_over_what_may_not_give_way)
{
    struct world world;
    setup(&world);
    struct model *a = ADD_MODEL(&world, 1, 1, 1, 1);
    add_run(&world, a, 0);
    use(&world, &a->layers[0]);
    use(&world, &a->layers[1]);
    hold(&world, &a->layers[2], LAYER_RESIDENT);
    a->layers[2].n_pins = 1;
    hold(&world, &a->layers[3], LAYER_LOADING);
    assert_victims(&world, NULL, 2, "a1 a0");
    /* Pages of an older generation belong to no layer. */
    arena_reset(world.arena);
    world.oldest = world.newest = NULL;
    use(&world, &a->layers[2]);
    a->layers[2].n_pins = 0;
    assert_victims(&world, NULL, 1, "a2");
    teardown(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy-next-use");
    TCase *tcase = tcase_create("policy-next-use");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_without_runs);
    tcase_add_test(tcase, test_one_run);
    tcase_add_test(tcase, test_runs_of_one_model);
    tcase_add_test(tcase, test_runs_of_several_models);
    tcase_add_test(tcase, test_reading_ahead);
    tcase_add_test(tcase, test_spares_needless_victims);
    tcase_add_test(tcase, test_passes_over_what_may_not_give_way);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
