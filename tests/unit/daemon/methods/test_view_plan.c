/* The layers that views keep. */
#include "daemon/methods/view_plan.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

static struct event_base *base;
static struct fixture fixture;
static struct view_plans plans;
static struct client_view views[8];
static unsigned n_changed;

static void changed(struct client_view *view)
{
    n_changed += view->plan != NULL;
}

static void begin(uint64_t capacity_pages)
{
    base = event_base_new();
    setup(&fixture, capacity_pages * PAGE, &policy_lru);
    ck_assert_int_eq(view_plans_init(&plans, base, fixture.scheduler, changed), 0);
    n_changed = 0;
}

static void end(void)
{
    view_plans_done(&plans);
    scheduler_free(fixture.scheduler);
    event_base_free(base);
}

static void join(unsigned i, struct model *model)
{
    views[i] = (struct client_view){.id = i + 1};
    ck_assert_int_eq(view_plan_join(&plans, model, &views[i]), 0);
}

/* The kept layers as letters, the others as points. */
static void check_keep(const struct client_view *view, const char *expected)
{
    char text[32] = "";
    const struct view_plan *plan = view->plan;

    for (uint32_t i = 0; i < plan->model->definition->n_layers; i++)
        text[i] = plan->keep[i] ? (char)('a' + i) : '.';
    ck_assert_str_eq(text, expected);
}

/* The timer runs. */
static void look_again(void)
{
    event_active(plans.again, EV_TIMEOUT, 1);
    event_base_loop(base, EVLOOP_NONBLOCK);
}

START_TEST(shares)
{
    begin(12);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    join(0, model);
    check_keep(&views[0], "a.c.e.g.i.k.m.");
    join(1, model);
    check_keep(&views[1], ".b.d.f..i.k.m.");
    ck_assert_ptr_eq(views[0].plan, views[1].plan);
    ck_assert_uint_eq(n_changed, 3);
    view_plan_leave(&views[1]);
    view_plan_leave(&views[0]);
    ck_assert(LIST_EMPTY(&plans.list));
    end();
}
END_TEST

START_TEST(everything)
{
    begin(10);
    struct model *small = ADD_MODEL(&fixture, "s", 1, 2, 1);
    struct model *large = ADD_MODEL(&fixture, "l", 1, 1, 1, 1, 1, 1, 1, 1);
    join(0, small);
    check_keep(&views[0], "abc");
    join(1, large); /* 12 pages together: the small one has 3 of 10, the large one 6 */
    check_keep(&views[0], "...");
    check_keep(&views[1], "...d....");
    view_plan_leave(&views[1]);
    check_keep(&views[0], "abc");
    view_plan_leave(&views[0]);
    end();
}
END_TEST

/* Small layers stay. */
START_TEST(sizes)
{
    begin(60);
    struct model *model = ADD_MODEL(&fixture, "m", 8, 1, 8, 1, 8, 1, 8, 1, 8, 1, 8, 1, 8, 1);
    join(0, model);
    check_keep(&views[0], ".b.def.h.j.l.n");
    view_plan_leave(&views[0]);
    end();
}
END_TEST

/* What others lease is not there for views, until they release it. */
START_TEST(room_for_others)
{
    begin(12);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    struct model *other = ADD_MODEL(&fixture, "o", 4);
    load_all(&fixture, model);
    join(0, model);
    check_keep(&views[0], "abcdefghij");
    ck_assert(!view_plans_make_room(&plans, 4)); /* nothing is leased for a view */
    for (unsigned i = 0; i < 10; i++) {
        scheduler_pin(fixture.scheduler, &model->layers[i]);
        view_plan_leased(&views[0], &model->layers[i]);
    }
    ck_assert(view_plans_make_room(&plans, 4));
    check_keep(&views[0], ".b...f..i."); /* 8 pages, 5 of them for streaming */
    for (unsigned i = 0; i < 10; i++)
        if (!views[0].plan->keep[i]) {
            view_plan_released(&views[0], &model->layers[i], false);
            scheduler_unpin(fixture.scheduler, &model->layers[i]);
            scheduler_unload_layer(fixture.scheduler, &model->layers[i]);
        }
    load(&fixture, &other->layers[0], 1);
    scheduler_pin(fixture.scheduler, &other->layers[0]);
    look_again();
    check_keep(&views[0], ".b...f..i.");
    scheduler_unpin(fixture.scheduler, &other->layers[0]);
    look_again();
    check_keep(&views[0], "abcdefghij");
    view_plan_leave(&views[0]);
    end();
}
END_TEST

static void stream(struct client_view *view, struct layer *layer)
{
    load(&fixture, layer, 1);
    scheduler_pin(fixture.scheduler, layer);
    view_plan_leased(view, layer);
}

/* A layer that is leased ahead leaves a place for each view that has none. */
START_TEST(places)
{
    struct layer *layers[16];
    unsigned n = 0;

    begin(12); /* 6 of them for streaming */
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    for (unsigned i = 0; i < 3; i++)
        join(i, model);
    for (unsigned i = 0; i < 16; i++)
        if (views[0].plan->keep[i])
            stream(&views[0], &model->layers[i]);
        else
            layers[n++] = &model->layers[i];
    ck_assert_uint_eq(n, 10);
    stream(&views[0], layers[0]);
    stream(&views[0], layers[1]);
    ck_assert(view_plan_may_read_ahead(&views[0], layers[2])); /* three places are left then */
    stream(&views[0], layers[2]);
    ck_assert(!view_plan_may_read_ahead(&views[0], layers[3]));
    ck_assert(view_plan_may_read_ahead(&views[0], layers[1])); /* it has a place */
    stream(&views[1], layers[3]);
    ck_assert(!view_plan_may_read_ahead(&views[1], layers[4]));
    view_plan_released(&views[0], layers[0], true);
    scheduler_unpin(fixture.scheduler, layers[0]);
    ck_assert(view_plan_may_read_ahead(&views[1], layers[4]));
    for (unsigned i = 0; i < 3; i++)
        view_plan_leave(&views[i]);
    end();
}
END_TEST

START_TEST(model_goes)
{
    begin(10);
    struct model *model = ADD_MODEL(&fixture, "m", 1, 1);
    join(0, model);
    join(1, model);
    view_plans_on_scheduler(&(struct scheduler_event){.type = EVENT_MODEL_REMOVED, .model = model},
                            &plans);
    ck_assert_ptr_null(views[0].plan);
    ck_assert_ptr_null(views[1].plan);
    view_plan_leave(&views[0]);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("view_plan");
    TCase *tests = tcase_create("view_plan");

    tcase_add_test(tests, shares);
    tcase_add_test(tests, everything);
    tcase_add_test(tests, sizes);
    tcase_add_test(tests, room_for_others);
    tcase_add_test(tests, places);
    tcase_add_test(tests, model_goes);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
