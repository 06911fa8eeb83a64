/* A client that ends with many leases, in turns of the loop. */
#include "daemon/methods/orphans.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

enum { N_LEASES = 3 * LEASES_PORTION + 1, N_CLIENTS = 2 };

static struct fixture fixture;
static struct leases leases;
static struct orphans orphans;
static struct event_base *base;
static struct model *model;

static void begin(void)
{
    setup(&fixture, PAGE, &policy_lru);
    leases_init(&leases, fixture.scheduler);
    model = ADD_MODEL(&fixture, "m", 1);
    load(&fixture, &model->layers[0], 0);
    base = event_base_new();
    orphans_init(&orphans, base, &leases, -1);
}

static void end(void)
{
    orphans_done(&orphans);
    event_base_free(base);
    scheduler_free(fixture.scheduler);
}

static struct holder *hold(unsigned n_leases)
{
    const struct lease *lease;
    struct holder *holder = holder_new(&leases, &(struct peer){.uid = 65534, .pid = 4711});
    for (unsigned i = 0; i < n_leases; i++)
        if (lease_take(holder, &model->layers[0], NULL, &lease) < 0)
            ck_abort();
    return holder;
}

START_TEST(few_leases_end_at_once)
{
    orphans_take(&orphans, hold(LEASES_PORTION));
    ck_assert_uint_eq(model->usage.n_pins, 0);
    ck_assert(LIST_EMPTY(&leases.holders));
}
END_TEST

/* No turn ends more than a portion, and they come one after the other. */
START_TEST(many_leases_end_in_turns)
{
    uint64_t left = N_CLIENTS * N_LEASES;
    struct holder *holders[N_CLIENTS];
    for (unsigned i = 0; i < N_CLIENTS; i++)
        holders[i] = hold(N_LEASES);
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        orphans_take(&orphans, holders[i]);
        left -= LEASES_PORTION;
        ck_assert_uint_eq(model->usage.n_pins, left);
    }
    unsigned n_turns = 0;
    for (; model->usage.n_pins > 0; n_turns++) {
        event_base_loop(base, EVLOOP_ONCE);
        ck_assert_uint_le(left - model->usage.n_pins, LEASES_PORTION);
        left = model->usage.n_pins;
    }
    ck_assert_uint_ge(n_turns, N_CLIENTS * 3);
    ck_assert(LIST_EMPTY(&leases.holders));
    event_base_loop(base, EVLOOP_NONBLOCK);
}
END_TEST

/* The daemon ends meanwhile. */
START_TEST(the_rest_ends_with_the_daemon)
{
    orphans_take(&orphans, hold(N_LEASES));
    orphans_done(&orphans);
    ck_assert_uint_eq(model->usage.n_pins, 0);
    orphans_init(&orphans, base, &leases, -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("orphans");
    TCase *tcase = tcase_create("orphans");
    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, few_leases_end_at_once);
    tcase_add_test(tcase, many_leases_end_in_turns);
    tcase_add_test(tcase, the_rest_ends_with_the_daemon);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
