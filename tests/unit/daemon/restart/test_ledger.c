/* The ledger: its content after each kind of step, the cost of a step, and a failure to write
 * one. */
#include "daemon/restart/ledger.h"

#include "daemon/scheduler/scheduler.h"
#include "tests/unit/ledger_fixture.h"
#include "tests/unit/run_suite.h"

#include <malloc.h>
#include <sys/wait.h>

static const uint64_t pages[LAYERS] = {1, 2, 3, 4, 5, 6, 7, 8};

START_TEST(test_new)
{
    struct world world;
    struct ledger *ledger = NULL;
    world_init(&world, 16);
    restart(&world);
    ck_assert_uint_eq(ledger_model_id(world.ledger, (const struct model *)&world), 0);

    struct ledger_arena wrong = world.identity;
    wrong.page_bytes = 0;
    ck_assert_int_eq(ledger_new(&wrong, &ledger), -EINVAL);
    wrong.page_bytes = 17 * PAGE;
    ck_assert_int_eq(ledger_new(&wrong, &ledger), -EINVAL);
    wrong.page_bytes = 1;
    wrong.capacity_bytes = UINT64_MAX;
    ck_assert_int_eq(ledger_new(&wrong, &ledger), -EFBIG);
    wrong = world.identity;
    wrong.fd = -1;
    ck_assert_int_eq(ledger_new(&wrong, &ledger), -EBADF);
    ck_assert_ptr_null(ledger);
    ck_assert_ptr_null(ledger_free(NULL));
    ck_assert_ptr_null(ledger_recovery_free(NULL));
    world_done(&world);
}
END_TEST

START_TEST(test_steps)
{
    struct world world;
    world_init(&world, 32);
    add(&world, 0, pages, 8);
    add(&world, 3, pages, 3);
    restart(&world);
    ck_assert(load(&world, 0, 7));
    ck_assert(load(&world, 0, 0));
    ck_assert(load(&world, 3, 2));
    restart(&world);
    lease(&world, 0, 7, 1);
    restart(&world);
    evict(&world, 0, 0);
    restart(&world);
    ck_assert(load(&world, 0, 0));
    lease(&world, 0, 7, 0);
    restart(&world);
    evict(&world, 3, 2);
    drop(&world, 3);
    restart(&world);
    add(&world, 1, pages + 4, 4);
    ck_assert(load(&world, 1, 0));
    restart(&world);
    world_done(&world);
}
END_TEST

/* A flush keeps leased layers, and layers that are loaded after it. */
START_TEST(test_flush)
{
    struct world world;
    world_init(&world, 40);
    add(&world, 0, pages, 8);
    for (unsigned i = 0; i < 8; i++)
        ck_assert(load(&world, 0, i));
    lease(&world, 0, 2, 1);
    lease(&world, 0, 5, 3);
    lease(&world, 0, 4, 1);
    lease(&world, 0, 4, 0);
    flush(&world);
    restart(&world);
    ck_assert(load(&world, 0, 3));
    restart(&world);
    flush(&world);
    lease(&world, 0, 5, 0);
    restart(&world);
    flush(&world);
    ck_assert_uint_ne(world.now.models[0].layers[2].fill_id, 0);
    ck_assert_uint_eq(world.now.models[0].layers[5].fill_id, 0);
    restart(&world);
    lease(&world, 0, 2, 0);
    flush(&world);
    restart(&world);
    ck_assert_uint_eq(arena_free_pages(world.arena), 40);
    world_done(&world);
}
END_TEST

/* A layer in the maximum number of extents, again and again in the same places. */
START_TEST(test_extents)
{
    static const uint64_t single[LAYERS] = {1, 1, 1, 1, 1, 1, 1, 1}, large[1] = {4};
    struct world world;
    world_init(&world, 8);
    add(&world, 0, single, 8);
    add(&world, 1, large, 1);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 8; i++)
            ck_assert(load(&world, 0, i));
        for (unsigned i = round % 2; i < 8; i += 2)
            evict(&world, 0, i);
        uint64_t n_writes = writes.count;
        ck_assert(load(&world, 1, 0));
        ck_assert_uint_eq(writes.count - n_writes, 2 + 1); /* one block of links */
        ck_assert_uint_eq(world.now.models[1].layers[0].n_extents, 4);
        restart(&world);
        n_writes = writes.count;
        lease(&world, 1, 0, 1);
        ck_assert_uint_eq(writes.count - n_writes, 2);
        flush(&world);
        restart(&world);
        lease(&world, 1, 0, 0);
        evict(&world, 1, 0);
        restart(&world);
    }
    world_done(&world);
}
END_TEST

START_TEST(test_models)
{
    struct world world;
    struct model *models[SCHEDULER_MODELS_MAX];
    struct stat before, after;
    uint64_t bytes = PAGE;
    world_init(&world, 16);
    for (int i = 0; i < SCHEDULER_MODELS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "model %d", i);
        struct definition *definition = define(name, &bytes, 1);
        models[i] = model_new(definition);
        definition_unref(definition);
        REQUIRE(ledger_add_model(world.ledger, models[i]) == 0);
        REQUIRE(ledger_model_id(world.ledger, models[i]) != 0);
        REQUIRE(i == 0 || ledger_model_id(world.ledger, models[i]) >
                              ledger_model_id(world.ledger, models[i - 1]));
    }
    ck_assert_int_eq(fstat(ledger_fd(world.ledger), &before), 0);
    /* No two regions share a page, which could not be given back. */
    ck_assert_uint_eq((uint64_t)before.st_size % system_page_bytes(), 0);
    /* In another order than they were loaded. */
    for (int i = 0; i < SCHEDULER_MODELS_MAX; i++) {
        struct model *model = models[i * 7 % SCHEDULER_MODELS_MAX];
        REQUIRE(ledger_remove_model(world.ledger, model) == 0);
        REQUIRE(ledger_model_id(world.ledger, model) == 0);
        model_free(model, world.arena);
    }
    ck_assert_int_eq(fstat(ledger_fd(world.ledger), &after), 0);
    ck_assert_int_lt(after.st_blocks, before.st_blocks / 8);
    restart(&world);
    world_done(&world);
}
END_TEST

/* Whichever write fails, the step reports it once, and the next process starts cold. */
START_TEST(test_void)
{
    enum { WRITES = 1 + 6 * 2 }; /* the definition, and six steps */
    for (int n = 0; n < WRITES; n++) {
        struct world world;
        char why[LEDGER_WHY_MAX];
        struct ledger *ledger;
        struct ledger_recovery *recovery;
        struct definition *definition = define("m0", pages + 7, 1);
        struct model *model = model_new(definition);
        world_init(&world, 16);
        ck_assert_int_eq(arena_alloc(world.arena, 1, &model->layers[0].allocation), 0);
        writes.n_left = n;
        int results[] = {
            ledger_add_model(world.ledger, model),
            ledger_loaded(world.ledger, model->layers, 1),
            ledger_leased(world.ledger, model->layers, 1, 1, false),
            ledger_leased(world.ledger, model->layers, 1, 0, false),
            ledger_flushed(world.ledger),
            ledger_evicted(world.ledger, model->layers),
        };
        int n_errors = 0;
        for (int i = 0; i < COUNT(results); i++) {
            ck_assert(results[i] == 0 || results[i] == -ENOSPC);
            n_errors += results[i] < 0;
        }
        ck_assert_int_eq(n_errors, 1);
        ck_assert_uint_eq(writes.count, (uint64_t)n + 1);
        writes.n_left = -1;
        ck_assert_int_eq(ledger_remove_model(world.ledger, model), 0);
        ck_assert_uint_eq(ledger_model_id(world.ledger, model), 0);
        ck_assert_int_eq(
            ledger_recover(dup(ledger_fd(world.ledger)), &world.identity, &ledger, &recovery, why),
            -EBADMSG);
        ck_assert_str_eq(why, "the file is no ledger, or the ledger is void");
        model_free(model, world.arena);
        definition_unref(definition);
        world_done(&world);
    }
}
END_TEST

/* The state that another process reads from the same file. */
static int recover_elsewhere(const struct world *world)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct ledger *ledger = NULL;
        struct ledger_recovery *recovery = NULL;
        char why[LEDGER_WHY_MAX];
        int r = ledger_recover(dup(ledger_fd(world->ledger)), &world->identity, &ledger, &recovery,
                               why);
        _exit(-r);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

/* The arena may still be written to by the last thread of a process that was killed. */
START_TEST(test_claim)
{
    struct world world;
    world_init(&world, 16);
    ck_assert_int_eq(recover_elsewhere(&world), -EBUSY);
    restart(&world);
    ck_assert_int_eq(recover_elsewhere(&world), -EBUSY);
    /* As if this process had ended; only the store's descriptor is left. */
    close(dup(ledger_fd(world.ledger)));
    ck_assert_int_eq(recover_elsewhere(&world), 0);
    world_done(&world);
}
END_TEST

/* For any number of layers: two writes per step, a fixed size in this process, and a file with one
 * record per layer and their names. */
START_TEST(test_many_layers)
{
    enum { MANY = DEFINITION_LAYERS_MAX };
    struct world world;
    char why[LEDGER_WHY_MAX];
    struct ledger_recovery *recovery;
    uint64_t *bytes = calloc(MANY, sizeof *bytes);
    for (size_t i = 0; i < MANY; i++)
        bytes[i] = PAGE;
    struct definition *definition = define("many", bytes, MANY);
    struct model *model = model_new(definition);
    free(bytes);
    world_init(&world, MANY);
    for (size_t i = 0; i < MANY; i++)
        REQUIRE(arena_alloc(world.arena, 1, &model->layers[i].allocation) == 0);

    size_t heap_bytes = mallinfo2().uordblks;
    ck_assert_int_eq(ledger_add_model(world.ledger, model), 0);
    uint64_t n_writes = writes.count;
    for (size_t i = 0; i < MANY; i++)
        REQUIRE(ledger_loaded(world.ledger, &model->layers[i], i + 1) == 0);
    ck_assert_uint_eq(writes.count - n_writes, 2 * MANY);
    ck_assert_uint_le(mallinfo2().uordblks, heap_bytes);
    ck_assert_int_eq(ledger_leased(world.ledger, &model->layers[MANY - 1], MANY, 1 << 20, false),
                     0);
    struct stat status;
    ck_assert_int_eq(fstat(ledger_fd(world.ledger), &status), 0);
    ck_assert_int_le(status.st_blocks * 512, MANY * (64 + 16) + 16 * PAGE);

    int fd = dup(ledger_fd(world.ledger));
    ledger_free(world.ledger);
    ck_assert_int_eq(ledger_recover(fd, &world.identity, &world.ledger, &recovery, why), 0);
    ck_assert_uint_eq(recovery->n_layers, MANY);
    for (size_t i = 0; i < MANY; i++)
        REQUIRE(recovery->layers[i].index == i && recovery->layers[i].fill_id == i + 1 &&
                recovery->extents[i].first_page == i && recovery->extents[i].layer == i);
    ck_assert_uint_eq(recovery->layers[MANY - 1].n_leases, LEDGER_LEASES_MAX);
    ck_assert_uint_eq(recovery->loaded_bytes, (uint64_t)MANY * PAGE);
    ledger_bind(world.ledger, recovery->models[0].id, model);
    ledger_recovery_free(recovery);

    watch_writes(&world);
    ck_assert_int_eq(ledger_flushed(world.ledger), 0);
    ck_assert_uint_eq(writes.count, 2);
    model_free(model, world.arena);
    definition_unref(definition);
    world_done(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger");
    TCase *tcase = tcase_create("ledger");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_new);
    tcase_add_test(tcase, test_steps);
    tcase_add_test(tcase, test_flush);
    tcase_add_test(tcase, test_extents);
    tcase_add_test(tcase, test_models);
    tcase_add_test(tcase, test_void);
    tcase_add_test(tcase, test_claim);
    tcase_add_test(tcase, test_many_layers);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
