/* Views: their counters, and how they end. */
#include "daemon/methods/lease.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

#include <errno.h>

static const struct peer nobody = {.uid = 65534, .pid = 4711};

static struct client_view *begin(struct client_views *views, uint64_t id)
{
    char model[] = "m", program[] = "engine";
    struct client_view view = {
        .id = id, .model = model, .program = program, .bytes = 100, .outside_bytes = 10};

    ck_assert_int_eq(client_view_begin(views, &view), 0);
    return client_view_find(views, id);
}

START_TEST(counted)
{
    struct view_totals totals = {0};
    struct client_views views;

    client_views_init(&views, &totals);
    struct client_view *view = begin(&views, 7), *other = begin(&views, 8);
    ck_assert_str_eq(view->model, "m");
    ck_assert_str_eq(view->program, "engine");
    client_view_count(view, 30, true);
    client_view_count(view, 40, false);
    client_view_count(view, 50, false);
    ck_assert_uint_eq(view->n_faults, 3);
    ck_assert_uint_eq(view->n_hits, 1);
    ck_assert_uint_eq(view->read_bytes, 90);
    ck_assert_uint_eq(other->n_faults, 0);
    client_view_hold(view, 70);
    client_view_hold(other, 5);
    client_view_hold(view, -30);
    client_view_set_outside(view, 60);
    client_view_set_outside(view, 50);
    ck_assert_uint_eq(view->held_bytes, 40);
    ck_assert_uint_eq(view->outside_bytes, 50);
    struct view_totals expected = {.n = 2,
                                   .bytes = 200,
                                   .outside_bytes = 60,
                                   .held_bytes = 45,
                                   .n_faults = 3,
                                   .n_hits = 1,
                                   .read_bytes = 90};
    ck_assert_mem_eq(&totals, &expected, sizeof totals);
    client_view_end(&views, view);
    expected.n = 1, expected.bytes = 100, expected.outside_bytes = 10, expected.held_bytes = 5;
    ck_assert_mem_eq(&totals, &expected, sizeof totals);
    ck_assert_ptr_null(client_view_find(&views, 7));
    ck_assert_ptr_eq(client_view_find(&views, 8), other);
    ck_assert_ptr_null(client_view_find(&views, 0));
    client_views_done(&views);
}
END_TEST

START_TEST(limited)
{
    struct view_totals totals = {0};
    struct client_views views;
    char text[] = "";

    client_views_init(&views, &totals);
    for (unsigned i = 0; i < VIEWS_PER_CONNECTION_MAX; i++)
        begin(&views, i + 1);
    struct client_view one_more = {.id = 100, .model = text, .program = text};
    ck_assert_int_eq(client_view_begin(&views, &one_more), -EMFILE);
    client_view_end(&views, client_view_find(&views, 5));
    ck_assert_int_eq(client_view_begin(&views, &one_more), 0);
    client_views_done(&views);
}
END_TEST

/* A view's held bytes are those of its leases; the leases stay after its end. */
START_TEST(held)
{
    struct fixture fixture;
    struct leases leases;
    const struct lease *lease[3];

    setup(&fixture, 6 * PAGE, &policy_lru);
    leases_init(&leases, fixture.scheduler);
    struct model *model = ADD_MODEL(&fixture, "m", 2, 1);
    struct holder *holder = holder_new(&leases, &nobody);
    for (unsigned i = 0; i < 2; i++)
        load(&fixture, &model->layers[i], i);
    uint64_t bytes[2];
    for (unsigned i = 0; i < 2; i++)
        bytes[i] = layer_definition(&model->layers[i])->bytes;
    struct client_view *view = begin(&holder->views, 7);
    ck_assert_int_eq(lease_take(holder, &model->layers[0], view, &lease[0]), 0);
    ck_assert_int_eq(lease_take(holder, &model->layers[1], view, &lease[1]), 0);
    ck_assert_int_eq(lease_take(holder, &model->layers[1], NULL, &lease[2]), 0);
    ck_assert_uint_eq(view->held_bytes, bytes[0] + bytes[1]);
    ck_assert_int_eq(lease_release(holder, lease[0]->id), 0);
    ck_assert_uint_eq(view->held_bytes, bytes[1]);
    holder_end_view(holder, view);
    ck_assert_uint_eq(holder->n_leases, 2);
    ck_assert_int_eq(lease_release(holder, lease[1]->id), 0);

    view = begin(&holder->views, 8);
    ck_assert_int_eq(lease_take(holder, &model->layers[0], view, &lease[0]), 0);
    holder_free(holder);
    ck_assert_uint_eq(scheduler_pinned_pages(fixture.scheduler), 0);
    scheduler_free(fixture.scheduler);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_view");
    TCase *tcase = tcase_create("client_view");
    tcase_add_test(tcase, counted);
    tcase_add_test(tcase, limited);
    tcase_add_test(tcase, held);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
