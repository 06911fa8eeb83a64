/* A process may die at any moment: whatever part of any write has been done, the next process finds
 * the state before the step or the state after it, and never another one. */
#include "daemon/restart/ledger.h"

#include "tests/unit/case_step.h"
#include "tests/unit/ledger_fixture.h"
#include "tests/unit/run_suite.h"

enum { STEPS = 400, CUTS = 3, ARENA_PAGES = 20 };

struct watch {
    struct world *world;
    unsigned *state;
    int n_cuts;    /* random ones of a write; negative: all */
    bool is_after; /* the state after the present step has been found */
    uint64_t step, n_before, n_after;
};

/* The write stops after `n_bytes`. */
static void die_after(struct watch *watch, struct image *image, const void *bytes, size_t n_bytes,
                      uint64_t offset_bytes)
{
    bool is_before = false, is_after = false;
    if (offset_bytes + n_bytes > image->n_bytes) {
        image->at = realloc(image->at, offset_bytes + n_bytes);
        REQUIRE(image->at);
        memset(image->at + image->n_bytes, 0, offset_bytes + n_bytes - image->n_bytes);
        image->n_bytes = offset_bytes + n_bytes;
    }
    memcpy(image->at + offset_bytes, bytes, n_bytes);
    int r = image_recover(image, watch->world, &watch->world->now, &is_after);
    if (r == 0 && !is_after)
        r = image_recover(image, watch->world, &watch->world->before, &is_before);
    if (r < 0 || !(is_before || is_after))
        ck_abort_msg("step %" PRIu64 ", %zu bytes at %" PRIu64 ": %d, neither before nor after",
                     watch->world->n_steps, n_bytes, offset_bytes, r);
    /* Once the new state was found, the old one must not come back. */
    if (watch->step != watch->world->n_steps)
        watch->is_after = false;
    watch->step = watch->world->n_steps;
    REQUIRE(is_after || !watch->is_after);
    watch->is_after = is_after;
    watch->n_before += is_before;
    watch->n_after += is_after;
}

static void look(const void *bytes, size_t n_bytes, uint64_t offset_bytes, void *context)
{
    struct watch *watch = context;
    struct image image = image_take(writes.fd);
    if (watch->n_cuts < 0)
        for (size_t n = 0; n < n_bytes; n += (size_t)case_step())
            die_after(watch, &image, bytes, n, offset_bytes);
    else {
        size_t n = 0;
        for (int i = 0; i < watch->n_cuts; i++) {
            die_after(watch, &image, bytes, n, offset_bytes);
            n += (size_t)rand_r(watch->state) % (n_bytes - n + 1);
        }
    }
    die_after(watch, &image, bytes, n_bytes, offset_bytes);
    free(image.at);
}

static void look_at(struct watch *watch)
{
    writes.fd = ledger_fd(watch->world->ledger);
    writes.look = look;
    writes.context = watch;
}

/* After a step's function has returned, only the state after the step is right. */
static void check(struct watch *watch)
{
    bool is_same = false;
    struct image image = image_take(ledger_fd(watch->world->ledger));
    int r = image_recover(&image, watch->world, &watch->world->now, &is_same);
    if (r < 0 || !is_same)
        ck_abort_msg("step %" PRIu64 ": %d, not what it should say", watch->world->n_steps, r);
    free(image.at);
}

/* Each byte of each write in a short sequence with every kind of step. */
START_TEST(test_every_byte)
{
    static const uint64_t ones[LAYERS] = {1, 1, 1, 1}, pair[LAYERS] = {2, 1};
    struct world world;
    struct watch watch = {.world = &world, .n_cuts = -1};
    world_init(&world, 4);
    look_at(&watch);
    add(&world, 0, ones, 4);
    add(&world, 1, pair, 2);
    for (unsigned i = 0; i < 4; i++)
        ck_assert(load(&world, 0, i));
    evict(&world, 0, 0);
    evict(&world, 0, 2);
    ck_assert(load(&world, 1, 0));
    ck_assert_uint_eq(world.now.models[1].layers[0].n_extents, 2);
    lease(&world, 1, 0, 1);
    flush(&world);
    ck_assert(load(&world, 0, 1));
    lease(&world, 1, 0, 0);
    check(&watch);
    flush(&world);
    drop(&world, 0);
    check(&watch);
    ck_assert_uint_gt(watch.n_before, 0);
    ck_assert_uint_gt(watch.n_after, 0);
    world_done(&world);
}
END_TEST

static void step(struct world *world, unsigned *state)
{
    unsigned model = (unsigned)rand_r(state) % MODELS;
    if (!world->models[model]) {
        uint64_t pages[LAYERS];
        uint32_t n = 1 + (uint32_t)rand_r(state) % LAYERS;
        for (uint32_t i = 0; i < n; i++)
            pages[i] = 1 + (uint64_t)rand_r(state) % 6;
        add(world, model, pages, n);
        return;
    }
    uint32_t n_layers = world->models[model]->definition->n_layers;
    unsigned index = (unsigned)rand_r(state) % n_layers;
    const struct expected_layer *layer = &world->now.models[model].layers[index];
    unsigned what = (unsigned)rand_r(state) % 40;
    if (what == 0) {
        flush(world);
    } else if (what == 1) {
        for (uint32_t i = 0; i < n_layers; i++) {
            if (world->now.models[model].layers[i].n_leases > 0)
                lease(world, model, i, 0);
            if (world->now.models[model].layers[i].fill_id)
                evict(world, model, i);
        }
        drop(world, model);
    } else if (layer->fill_id == 0) {
        load(world, model, index);
    } else if (what < 20) {
        lease_mapped(world, model, index, (unsigned)rand_r(state) % 3, rand_r(state) % 2 == 0);
    } else if (layer->n_leases == 0) {
        evict(world, model, index);
    }
}

START_TEST(test_random)
{
    unsigned seed = test_seed(), state = seed;
    struct world world;
    struct watch watch = {.world = &world, .state = &state, .n_cuts = CUTS};
    size_t n_chains = 0;
    printf("seed %u\n", seed);
    world_init(&world, ARENA_PAGES);
    look_at(&watch);
    while (world.n_steps < STEPS) {
        step(&world, &state);
        if (rand_r(&state) % 10 == 0)
            check(&watch);
        if (rand_r(&state) % 40 == 0) {
            writes.look = NULL;
            restart(&world);
            look_at(&watch);
        }
        for (unsigned i = 0; i < MODELS * LAYERS; i++)
            n_chains += world.now.models[i / LAYERS].layers[i % LAYERS].n_extents > 1;
    }
    check(&watch);
    ck_assert_msg(n_chains > 0 && watch.n_before > 0 && watch.n_after > 0, "seed %u", seed);
    writes.look = NULL;
    world_done(&world);
}
END_TEST

/* A process dies in the middle of a step, and its successors die in the middle of recovery. */
START_TEST(test_heirs)
{
    static const uint64_t ones[LAYERS] = {1, 1, 1, 1};
    struct world world;
    world_init(&world, 4);
    add(&world, 0, ones, 4);
    ck_assert(load(&world, 0, 0));
    ck_assert(load(&world, 0, 1));
    struct image before = image_take(ledger_fd(world.ledger));
    evict(&world, 0, 0);
    struct image after = image_take(ledger_fd(world.ledger));
    ck_assert_uint_eq(before.n_bytes, after.n_bytes);
    /* The step is among the last ones; its record is written up to byte n, then up to byte m. */
    size_t place = 0;
    for (size_t i = 4096; i < before.n_bytes && place == 0; i += 64)
        if (memcmp(before.at + i, after.at + i, 64) != 0)
            place = i;
    ck_assert_uint_ne(place, 0);
    memcpy(before.at, after.at, 4096);
    unsigned char old[64];
    memcpy(old, before.at + place, 64);
    for (size_t n = 0; n <= 64; n += (size_t)case_step())
        for (size_t m = 0; m <= n; m++) {
            bool is_after = false;
            memcpy(before.at + place, old, 64);
            memcpy(before.at + place, after.at + place, n);
            memcpy(before.at + place, after.at + place, m);
            REQUIRE(image_recover(&before, &world, &world.now, &is_after) == 0 && is_after);
        }
    free(before.at);
    free(after.at);
    world_done(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger_property");
    TCase *tcase = tcase_create("ledger_property");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_every_byte);
    tcase_add_test(tcase, test_random);
    tcase_add_test(tcase, test_heirs);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
