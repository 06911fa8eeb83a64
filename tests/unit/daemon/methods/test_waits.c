/* Waiting for room, on a real loop: which calls are served, in which order, and when. */
#include "daemon/methods/waits.h"

#include "common/clock.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

static const uint64_t FAR_USEC = 3600ULL * 1000 * 1000;

struct world {
    struct fixture fixture;
    struct event_base *base;
    struct waits *waits;
    struct model *model;
    char told[32]; /* a letter for each answered waiter: small if served, capital if expired */
};

/* A waiter for a layer, which holds the layer when it is served. */
struct waiter {
    struct world *world;
    struct wait wait;
    struct layer *layer;
    char letter;
    bool only_looks;         /* takes nothing */
    unsigned n_again;        /* waits so many times more */
    struct waiter *gives_up; /* the waiter that it ends when it is answered */
    struct layer *lets_go;   /* what it holds until then */
    uint64_t told_usec;
};

static void begin(struct waiter *waiter, uint64_t deadline_usec, bool is_admin);

static void over(enum wait_end end, void *context)
{
    struct waiter *waiter = context;
    struct world *world = waiter->world;
    bool expired = end == WAIT_EXPIRED;
    size_t n = strlen(world->told);
    ck_assert_uint_lt(n + 1, sizeof world->told);
    ck_assert_ptr_null(waiter->wait.waits); /* it does not wait any more */
    world->told[n] = (char)(expired ? waiter->letter - 'a' + 'A' : waiter->letter);
    waiter->told_usec = clock_monotonic_usec();
    if (waiter->gives_up)
        wait_end(&waiter->gives_up->wait);
    if (waiter->lets_go)
        scheduler_unpin(world->fixture.scheduler, waiter->lets_go);
    if (waiter->n_again > 0) {
        waiter->n_again--;
        begin(waiter, clock_monotonic_usec() + FAR_USEC, false);
    } else if (!expired && !waiter->only_looks) {
        struct verdict verdict;
        ck_assert_int_eq(
            scheduler_request(world->fixture.scheduler, waiter->layer, ON_FULL_EVICT, 0, &verdict),
            0);
        ck_assert_int_ne(verdict.outcome, OUTCOME_REFUSED);
        if (verdict.outcome == OUTCOME_RESERVED)
            scheduler_complete(world->fixture.scheduler, waiter->layer, 0);
        verdict_done(&verdict);
        scheduler_pin(world->fixture.scheduler, waiter->layer);
    }
}

static void begin(struct waiter *waiter, uint64_t deadline_usec, bool is_admin)
{
    wait_begin(&waiter->wait, waiter->world->waits, waiter->layer, deadline_usec, is_admin, over,
               waiter);
}

static struct waiter make(struct world *world, char letter, uint32_t index)
{
    return (struct waiter){.world = world, .letter = letter, .layer = &world->model->layers[index]};
}

/* An arena of four pages; layers 0 to 3 are one page each, 4 and 5 two, 6 and 7 four. */
static void begin_world(struct world *world)
{
    *world = (struct world){.base = event_base_new()};
    ck_assert_ptr_nonnull(world->base);
    setup(&world->fixture, 4 * PAGE, &policy_lru);
    world->model = ADD_MODEL(&world->fixture, "m", 1, 1, 1, 1, 2, 2, 4, 4);
    ck_assert_int_eq(waits_new(world->base, world->fixture.scheduler, &world->waits), 0);
    scheduler_set_observer(world->fixture.scheduler, waits_on_scheduler, world->waits);
}

static void end_world(struct world *world)
{
    ck_assert_uint_eq(waits_count(world->waits), 0);
    scheduler_set_observer(world->fixture.scheduler, NULL, NULL);
    waits_free(world->waits);
    scheduler_free(world->fixture.scheduler);
    event_base_free(world->base);
}

static struct layer *take(struct world *world, uint32_t index)
{
    struct layer *layer = &world->model->layers[index];
    load(&world->fixture, layer, 0);
    scheduler_pin(world->fixture.scheduler, layer);
    return layer;
}

static void let_go(struct world *world, struct layer *layer)
{
    scheduler_unpin(world->fixture.scheduler, layer);
}

/* Runs the loop until it is idle, and compares the waiters that were answered so far. */
static void assert_told(struct world *world, const char *expected)
{
    ck_assert_int_ge(event_base_loop(world->base, EVLOOP_NONBLOCK), 0);
    ck_assert_str_eq(world->told, expected);
}

START_TEST(test_first_come_first_served)
{
    struct world world;
    begin_world(&world);
    struct layer *held = take(&world, 6);
    struct waiter a = make(&world, 'a', 7), b = make(&world, 'b', 0), c = make(&world, 'c', 4);
    begin(&a, clock_monotonic_usec() + FAR_USEC, false);
    begin(&b, clock_monotonic_usec() + FAR_USEC, false);
    begin(&c, clock_monotonic_usec() + FAR_USEC, false);
    ck_assert_uint_eq(waits_count(world.waits), 3);
    assert_told(&world, "");

    let_go(&world, held);
    ck_assert_str_eq(world.told, ""); /* from the loop only */
    assert_told(&world, "a");
    ck_assert_uint_eq(waits_count(world.waits), 2);
    let_go(&world, a.layer);
    assert_told(&world, "abc");
    let_go(&world, b.layer);
    let_go(&world, c.layer);
    end_world(&world);
}
END_TEST

/* Who needs room for several layers is served when all have room, and not before its turn. */
START_TEST(test_together)
{
    struct world world;
    begin_world(&world);
    struct layer *one = take(&world, 0), *other = take(&world, 1);
    struct layer *const layers[] = {&world.model->layers[2], &world.model->layers[5]};
    const struct layer_set set = {layers, 2, NULL};
    struct waiter a = make(&world, 'a', 2), b = make(&world, 'b', 7), c = make(&world, 'c', 2);
    a.only_looks = c.only_looks = true;
    wait_begin_together(&a.wait, world.waits, &set, UINT64_MAX, false, over, &a);
    begin(&b, UINT64_MAX, false);
    wait_begin_together(&c.wait, world.waits, &set, UINT64_MAX, false, over, &c);
    load(&world.fixture, layers[0], 0);
    assert_told(&world, "");
    let_go(&world, one);
    assert_told(&world, "a");
    ck_assert_int_eq(scheduler_unload_layer(world.fixture.scheduler, one), 0);
    load(&world.fixture, layers[1], 0);
    assert_told(&world, "a"); /* all that c needs is there, but b is ahead of it */
    wait_end(&b.wait);
    assert_told(&world, "ac");
    let_go(&world, other);
    end_world(&world);
}
END_TEST

START_TEST(test_administrators_first)
{
    struct world world;
    begin_world(&world);
    struct layer *held = take(&world, 6);
    struct waiter a = make(&world, 'a', 7), b = make(&world, 'b', 7), c = make(&world, 'c', 7),
                  d = make(&world, 'd', 7);
    ck_assert(!waits_ahead_of(world.waits, false));
    ck_assert(!waits_ahead_of(world.waits, true));
    begin(&a, clock_monotonic_usec() + FAR_USEC, false);
    ck_assert(waits_ahead_of(world.waits, false));
    ck_assert(!waits_ahead_of(world.waits, true));
    begin(&b, clock_monotonic_usec() + FAR_USEC, true);
    ck_assert(waits_ahead_of(world.waits, false));
    ck_assert(waits_ahead_of(world.waits, true));
    begin(&c, clock_monotonic_usec() + FAR_USEC, false);
    begin(&d, clock_monotonic_usec() + FAR_USEC, true);
    a.only_looks = b.only_looks = c.only_looks = d.only_looks = true;
    let_go(&world, held);
    assert_told(&world, "bdac"); /* no waiter takes the room */
    end_world(&world);
}
END_TEST

START_TEST(test_a_small_one_does_not_overtake)
{
    struct world world;
    begin_world(&world);
    struct layer *one = take(&world, 4), *other = take(&world, 5);
    struct waiter big = make(&world, 'b', 6), small = make(&world, 's', 0);
    begin(&big, clock_monotonic_usec() + FAR_USEC, false);
    begin(&small, clock_monotonic_usec() + FAR_USEC, false);
    let_go(&world, one);
    ck_assert(scheduler_can_place(world.fixture.scheduler, small.layer));
    assert_told(&world, "");
    let_go(&world, other);
    assert_told(&world, "b");
    let_go(&world, big.layer);
    assert_told(&world, "bs");
    let_go(&world, small.layer);
    end_world(&world);
}
END_TEST

START_TEST(test_a_layer_that_came_in_is_there_for_all)
{
    struct world world;
    begin_world(&world);
    struct layer *one = take(&world, 4), *other = take(&world, 5);
    struct waiter big = make(&world, 'b', 6), small = make(&world, 's', 0),
                  loading = make(&world, 'l', 1);
    begin(&big, clock_monotonic_usec() + FAR_USEC, false);
    begin(&small, clock_monotonic_usec() + FAR_USEC, false);
    begin(&loading, clock_monotonic_usec() + FAR_USEC, false);
    loading.only_looks = true;
    let_go(&world, one);
    assert_told(&world, "");
    /* A request that does not wait loads the layer. */
    struct verdict verdict =
        ask(&world.fixture, small.layer, ON_FULL_EVICT, 0, OUTCOME_RESERVED, DECISION_MUST_UNLOAD);
    verdict_done(&verdict);
    scheduler_complete(world.fixture.scheduler, small.layer, 0);
    assert_told(&world, "s");
    reserve(&world.fixture, loading.layer); /* being loaded is enough */
    assert_told(&world, "sl");
    scheduler_abandon(world.fixture.scheduler, loading.layer);
    let_go(&world, small.layer);
    let_go(&world, other);
    assert_told(&world, "slb");
    let_go(&world, big.layer);
    end_world(&world);
}
END_TEST

START_TEST(test_what_loads_take_up_is_waited_for)
{
    struct world world;
    begin_world(&world);
    struct waiter a = make(&world, 'a', 6);
    reserve(&world.fixture, &world.model->layers[4]);
    reserve(&world.fixture, &world.model->layers[5]);
    begin(&a, clock_monotonic_usec() + FAR_USEC, false);
    scheduler_complete(world.fixture.scheduler, &world.model->layers[4], 0);
    assert_told(&world, "");
    scheduler_abandon(world.fixture.scheduler, &world.model->layers[5]);
    assert_told(&world, "a");
    let_go(&world, a.layer);
    end_world(&world);
}
END_TEST

START_TEST(test_deadlines)
{
    struct world world;
    begin_world(&world);
    struct layer *held = take(&world, 6);
    uint64_t now_usec = clock_monotonic_usec();
    struct waiter far = make(&world, 'f', 1), late = make(&world, 'l', 0),
                  early = make(&world, 'e', 2), past = make(&world, 'p', 3);
    begin(&far, now_usec + FAR_USEC, false);
    begin(&late, now_usec + 60000, false);
    begin(&early, now_usec + 20000, false);
    begin(&past, now_usec - 1, false);
    while (waits_count(world.waits) > 1)
        ck_assert_int_eq(event_base_loop(world.base, EVLOOP_ONCE), 0);
    ck_assert_uint_ge(early.told_usec, now_usec + 20000);
    ck_assert_uint_ge(late.told_usec, now_usec + 60000);
    /* If the loop is late and several waits are over, it answers them in their order. */
    if (past.told_usec < now_usec + 20000 && early.told_usec < now_usec + 60000)
        ck_assert_str_eq(world.told, "PEL");
    ck_assert_uint_eq(strlen(world.told), 3);
    ck_assert_uint_eq(strspn(world.told, "PEL"), 3);
    let_go(&world, held);
    ck_assert_int_ge(event_base_loop(world.base, EVLOOP_NONBLOCK), 0);
    ck_assert_str_eq(world.told + 3, "f");
    let_go(&world, far.layer);
    end_world(&world);
}
END_TEST

/* A waiter behind one whose time was over is served. */
START_TEST(test_the_first_ones_deadline_frees_the_second)
{
    struct world world;
    begin_world(&world);
    struct layer *held = take(&world, 4);
    uint64_t now_usec = clock_monotonic_usec();
    struct waiter big = make(&world, 'b', 6), small = make(&world, 's', 0);
    begin(&big, now_usec + 10000, false);
    begin(&small, now_usec + FAR_USEC, false);
    while (waits_count(world.waits) > 0)
        ck_assert_int_eq(event_base_loop(world.base, EVLOOP_ONCE), 0);
    ck_assert_str_eq(world.told, "Bs");
    ck_assert_uint_ge(big.told_usec, now_usec + 10000);
    let_go(&world, held);
    let_go(&world, small.layer);
    end_world(&world);
}
END_TEST

START_TEST(test_ending)
{
    struct world world;
    begin_world(&world);
    struct layer *held = take(&world, 4);
    struct waiter big = make(&world, 'b', 6), small = make(&world, 's', 0);
    struct wait never = {0};
    wait_end(&never);
    begin(&big, clock_monotonic_usec() + FAR_USEC, false);
    begin(&small, clock_monotonic_usec() + FAR_USEC, false);
    assert_told(&world, "");
    wait_end(&big.wait);
    wait_end(&big.wait);
    ck_assert_uint_eq(waits_count(world.waits), 1);
    assert_told(&world, "s"); /* it stood behind */
    wait_end(&small.wait);
    ck_assert_uint_eq(waits_count(world.waits), 0);
    let_go(&world, held);
    let_go(&world, small.layer);
    assert_told(&world, "s");
    end_world(&world);
}
END_TEST

/* A waiter's callback may change the queue. */
START_TEST(test_the_queue_changes_meanwhile)
{
    struct world world;
    begin_world(&world);
    struct layer *held = take(&world, 6);
    struct waiter a = make(&world, 'a', 0), b = make(&world, 'b', 1), c = make(&world, 'c', 2),
                  d = make(&world, 'd', 3);
    struct waiter *all[] = {&a, &b, &c, &d};
    for (unsigned i = 0; i < 4; i++)
        begin(all[i], clock_monotonic_usec() + FAR_USEC, false);
    a.gives_up = &b; /* the next one */
    a.n_again = 2;   /* and itself goes to the end */
    let_go(&world, held);
    assert_told(&world, "acdaa");
    let_go(&world, a.layer);
    let_go(&world, c.layer);
    let_go(&world, d.layer);
    end_world(&world);
}
END_TEST

/* Serving a waiter may release what the next one needs: both are served in one turn of the loop. */
START_TEST(test_serving_one_makes_the_next_possible)
{
    struct world world;
    begin_world(&world);
    struct layer *one = take(&world, 4), *other = take(&world, 5);
    struct waiter a = make(&world, 'a', 0), b = make(&world, 'b', 6);
    begin(&a, clock_monotonic_usec() + FAR_USEC, false);
    begin(&b, clock_monotonic_usec() + FAR_USEC, false);
    a.only_looks = true;
    a.lets_go = other;
    let_go(&world, one);
    assert_told(&world, "ab");
    let_go(&world, b.layer);
    end_world(&world);
}
END_TEST

/* Without waiters the scheduler gives the loop no work. */
START_TEST(test_idle)
{
    struct world world;
    begin_world(&world);
    let_go(&world, take(&world, 6));
    ck_assert_int_eq(event_base_loop(world.base, EVLOOP_NONBLOCK), 1);
    ck_assert_ptr_null(waits_free(NULL));
    end_world(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("waits");
    TCase *tcase = tcase_create("waits");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_first_come_first_served);
    tcase_add_test(tcase, test_together);
    tcase_add_test(tcase, test_administrators_first);
    tcase_add_test(tcase, test_a_small_one_does_not_overtake);
    tcase_add_test(tcase, test_a_layer_that_came_in_is_there_for_all);
    tcase_add_test(tcase, test_what_loads_take_up_is_waited_for);
    tcase_add_test(tcase, test_deadlines);
    tcase_add_test(tcase, test_the_first_ones_deadline_frees_the_second);
    tcase_add_test(tcase, test_ending);
    tcase_add_test(tcase, test_the_queue_changes_meanwhile);
    tcase_add_test(tcase, test_serving_one_makes_the_next_possible);
    tcase_add_test(tcase, test_idle);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
