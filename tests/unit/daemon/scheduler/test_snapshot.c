/* A snapshot that is taken in portions while the scheduler changes: it shows the scheduler as it is
 * when the snapshot is complete, and no portion copies more layers than it may. */
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

enum { LAYERS = 40, MODELS = 3, ROUNDS = 300, PORTION = 2 };

struct world {
    struct scheduler *scheduler;
    struct definition definitions[MODELS];
    struct layer_definition layers[MODELS][LAYERS];
    uint64_t now_usec;
};

static struct model *find(const struct world *world, unsigned i)
{
    return scheduler_find_model(world->scheduler, world->definitions[i].name);
}

static void begin(struct world *world, const struct policy *policy, uint64_t n_pages)
{
    static char names[MODELS][2] = {"a", "b", "c"};
    struct arena *arena;
    *world = (struct world){0};
    ck_assert_int_eq(arena_new(n_pages * PAGE, PAGE, &arena), 0);
    ck_assert_int_eq(scheduler_new(arena, policy, &world->scheduler), 0);
    for (unsigned i = 0; i < MODELS; i++) {
        world->definitions[i] = define_by_hand(names[i], world->layers[i], LAYERS);
        for (unsigned k = 0; k < LAYERS; k++)
            world->layers[i][k] = (struct layer_definition){.name = "l", .bytes = PAGE};
    }
}

/* Removes a model whose layers are not in use. */
static void remove_model(struct world *world, struct model *model)
{
    for (unsigned i = 0; i < LAYERS; i++) {
        struct layer *layer = &model->layers[i];
        if (scheduler_layer_state(world->scheduler, layer) == LAYER_LOADING)
            scheduler_abandon(world->scheduler, layer);
        while (layer->n_pins > 0)
            scheduler_unpin(world->scheduler, layer);
    }
    ck_assert_int_eq(scheduler_remove_model(world->scheduler, model), 0);
}

/* One change: of a layer, of all, or of the list of models. */
static void change(struct world *world)
{
    unsigned i = (unsigned)random_below(MODELS);
    struct model *model = find(world, i);
    struct model_refusal refusal;
    struct verdict verdict;
    if (!model) {
        ck_assert_int_eq(
            scheduler_add_model(world->scheduler, &world->definitions[i], &model, &refusal), 0);
        return;
    }
    struct layer *layer = &model->layers[random_below(LAYERS)];
    enum layer_state state = scheduler_layer_state(world->scheduler, layer);
    uint64_t what = random_below(100);
    if (what == 0) {
        scheduler_reset(world->scheduler);
    } else if (what == 1) {
        remove_model(world, model);
    } else if (what < 20 && state == LAYER_RESIDENT) {
        scheduler_unload_layer(world->scheduler, layer);
    } else if (what < 35 && state == LAYER_RESIDENT) {
        scheduler_pin(world->scheduler, layer);
    } else if (what < 60 && layer->n_pins > 0 && state == LAYER_RESIDENT) {
        scheduler_unpin(world->scheduler, layer);
    } else if (state == LAYER_LOADING) {
        if (what < 50)
            scheduler_abandon(world->scheduler, layer);
        else
            scheduler_complete(world->scheduler, layer, ++world->now_usec);
    } else {
        ck_assert_int_eq(
            scheduler_request(world->scheduler, layer, ON_FULL_EVICT, ++world->now_usec, &verdict),
            0);
        verdict_done(&verdict);
    }
}

/* The order in which all evictable layers of the first scheduler give way is that of the second. */
static bool is_order_alike(struct scheduler *left, struct scheduler *right)
{
    struct policy_view a = {.n_victims_max = MODELS * LAYERS, .needed_pages = UINT64_MAX};
    struct victims x = {0}, y = {0};
    struct layer *oldest[2] = {NULL, NULL};
    struct scheduler *both[2] = {left, right};
    for (unsigned s = 0; s < 2; s++)
        for (struct model *model = scheduler_first_model(both[s]); model; model = model->next)
            for (unsigned i = 0; i < LAYERS; i++) {
                struct layer *layer = &model->layers[i];
                if (scheduler_layer_state(both[s], layer) == LAYER_RESIDENT && layer->n_pins == 0 &&
                    !layer->older)
                    oldest[s] = layer;
            }
    a.oldest = oldest[0];
    ck_assert_int_eq(policy_flush_all.choose(&a, &x), 0);
    a.oldest = oldest[1];
    ck_assert_int_eq(policy_flush_all.choose(&a, &y), 0);
    bool alike = x.n_listed == y.n_listed;
    for (size_t i = 0; alike && i < x.n_listed; i++)
        alike = x.layers[i]->index == y.layers[i]->index &&
                x.layers[i]->model->definition == y.layers[i]->model->definition;
    victims_done(&x);
    victims_done(&y);
    return alike;
}

static bool is_alike(struct scheduler *left, struct scheduler *right)
{
    struct scheduler_stats a, b;
    scheduler_get_stats(left, &a);
    scheduler_get_stats(right, &b);
    bool alike = a.n_models == b.n_models && a.layers_resident == b.layers_resident &&
                 a.layers_loading == b.layers_loading &&
                 scheduler_pinned_pages(left) == scheduler_pinned_pages(right);
    const struct model *x = scheduler_first_model(left), *y = scheduler_first_model(right);
    for (; alike && x; x = x->next, y = y->next) {
        alike = x->definition == y->definition;
        for (unsigned i = 0; alike && i < LAYERS; i++)
            alike = scheduler_layer_state(left, &x->layers[i]) ==
                        scheduler_layer_state(right, &y->layers[i]) &&
                    (x->layers[i].n_pins > 0) == (y->layers[i].n_pins > 0);
    }
    return alike && is_order_alike(left, right);
}

/* With and without room for all, and with evictions of one layer or of all. */
START_TEST(it_shows_the_moment_of_its_end)
{
    struct world world;
    size_t n_portions = 0;
    ck_assert(random_begin());
    begin(&world, _i & 1 ? &policy_flush_all : &policy_lru, MODELS * LAYERS / (_i & 2 ? 2 : 1));
    for (unsigned i = 0; i < 1000; i++)
        change(&world);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct scheduler_snapshot *snapshot;
        struct scheduler *copy;
        int r;
        struct model *last = find(&world, MODELS - 1);
        if (last && random_below(4) == 0) /* so that one more may come meanwhile */
            remove_model(&world, last);
        ck_assert_int_eq(scheduler_begin_snapshot(world.scheduler, &snapshot), 0);
        for (;;) {
            for (uint64_t n = random_below(5); n > 0; n--)
                change(&world);
            size_t before = scheduler_snapshot_copies(snapshot);
            r = scheduler_go_on_with_snapshot(snapshot, PORTION);
            if (r == 0)
                break;
            ck_assert_int_eq(r, 1);
            ck_assert_uint_le(scheduler_snapshot_copies(snapshot) - before, PORTION);
            n_portions++;
        }
        ck_assert_int_eq(scheduler_from_snapshot(snapshot, &copy), 0);
        ck_assert_msg(is_alike(world.scheduler, copy), "round %u", round);
        scheduler_free(copy);
        scheduler_snapshot_free(snapshot);
    }
    ck_assert_uint_gt(n_portions, ROUNDS);
    scheduler_free(world.scheduler);
}
END_TEST

/* Two at once, of which one is given up. */
START_TEST(it_may_be_given_up)
{
    struct world world;
    struct scheduler_snapshot *first, *second;
    ck_assert(random_begin());
    begin(&world, &policy_lru, MODELS * LAYERS);
    for (unsigned i = 0; i < 1000; i++)
        change(&world);
    ck_assert_int_eq(scheduler_begin_snapshot(world.scheduler, &first), 0);
    ck_assert_int_eq(scheduler_begin_snapshot(world.scheduler, &second), 0);
    ck_assert_int_eq(scheduler_go_on_with_snapshot(first, 1), 1);
    scheduler_stop_snapshot(first);
    change(&world);
    scheduler_snapshot_free(first);
    change(&world);
    scheduler_snapshot_free(second);
    scheduler_free(world.scheduler);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snapshot");
    TCase *tcase = tcase_create("snapshot");
    tcase_set_timeout(tcase, 0);
    tcase_add_loop_test(tcase, it_shows_the_moment_of_its_end, 0, 4);
    tcase_add_test(tcase, it_may_be_given_up);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
