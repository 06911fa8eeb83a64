/* Definitions that are written before their models are added, by other threads. */
#include "daemon/restart/ledger_file.h"
#include "tests/unit/ledger_fixture.h"
#include "tests/unit/run_suite.h"

#include <pthread.h>
#include <sys/auxv.h>
#include <sys/stat.h>

enum { N_DRAFTS = 3 };

static struct model *models[N_DRAFTS];
static struct ledger_draft *drafts[N_DRAFTS];
static struct world world;

static void *make_draft(void *number)
{
    size_t i = (size_t)number;
    drafts[i] = ledger_draft(world.ledger, models[i]->definition);
    return NULL;
}

static void begin_drafts(void)
{
    pthread_t threads[N_DRAFTS];
    world_init(&world, 20);
    for (size_t i = 0; i < N_DRAFTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%zu", i);
        _cleanup_(definition_unrefp) struct definition *definition =
            define(name, (const uint64_t[]){PAGE, PAGE, PAGE}, 3);
        models[i] = model_new(definition);
    }
    for (size_t i = 0; i < N_DRAFTS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, make_draft, (void *)i), 0);
    for (size_t i = 0; i < N_DRAFTS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}

static void end_drafts(void)
{
    world_done(&world);
    for (size_t i = 0; i < N_DRAFTS; i++)
        model_free(models[i], NULL);
}

#define DRAFT_BLOCKS (system_page_bytes() / 512)

/* The models' own records have their first page to themselves unless the header's page is larger.
 */
static uint64_t record_blocks(void)
{
    uint64_t kernels_page = getauxval(AT_PAGESZ);
    return kernels_page <= LEDGER_MODELS_OFFSET ? kernels_page / 512 : 0;
}

static uint64_t blocks(void)
{
    struct stat status;
    ck_assert_int_eq(fstat(ledger_fd(world.ledger), &status), 0);
    return (uint64_t)status.st_blocks;
}

static void assert_recovered(const char *const *names, size_t n)
{
    char why[LEDGER_WHY_MAX];
    struct ledger *ledger = NULL;
    _cleanup_(ledger_recovery_freep) struct ledger_recovery *recovery = NULL;
    int r = ledger_recover(dup(ledger_fd(world.ledger)), &world.identity, &ledger, &recovery, why);
    ck_assert_msg(r == 0, "%s", why);
    ck_assert_uint_eq(recovery->n_models, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_str_eq(recovery->models[i].definition->name, names[i]);
    ledger_free(ledger);
}

/* The models come in another order than their definitions, and one not at all: a process that dies
 * now is followed by one that knows the others, in the order in which they were added. */
START_TEST(added_in_any_order)
{
    static const size_t orders[][2] = {{0, 1}, {1, 0}, {2, 0}, {0, 2}, {1, 2}, {2, 1}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        const char *names[2];
        begin_drafts();
        uint64_t before = blocks();
        for (size_t k = 0; k < 2; k++) {
            size_t number = orders[i][k];
            names[k] = models[number]->definition->name;
            ck_assert_int_eq(ledger_add_drafted(world.ledger, models[number], drafts[number]), 0);
            drafts[number] = NULL;
        }
        ck_assert_uint_eq(blocks(), before + record_blocks());
        assert_recovered(names, 2);
        /* The third draft's memory is given back. */
        ck_assert_uint_eq(blocks(), before + record_blocks() - DRAFT_BLOCKS);
        for (size_t k = 0; k < N_DRAFTS; k++)
            free(drafts[k]);
        end_drafts();
    }
}
END_TEST

START_TEST(a_dropped_draft_leaves_nothing)
{
    begin_drafts();
    uint64_t before = blocks();
    for (size_t i = 0; i < N_DRAFTS; i++)
        drafts[i] = ledger_draft_drop(world.ledger, drafts[i]);
    ck_assert_uint_eq(blocks(), before - N_DRAFTS * DRAFT_BLOCKS);
    ck_assert_int_eq(ledger_add_model(world.ledger, models[1]), 0);
    assert_recovered(&(const char *){"m1"}, 1);
    end_drafts();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger-drafts");
    TCase *tcase = tcase_create("ledger-drafts");
    tcase_add_test(tcase, added_in_any_order);
    tcase_add_test(tcase, a_dropped_draft_leaves_nothing);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
