/* The fast model of a run is compared with the scheduler's own code. For random sizes, arenas and
 * plans both read the same layers in every pass and take the same time, so that the daemon does
 * what the planner predicts. */
#include "daemon/scheduler/run_simulation.h"

#include "tests/unit/case_step.h"
#include "tests/unit/random.h"
#include "tests/unit/rehearse.h"
#include "tests/unit/run_suite.h"

#include <math.h>

enum { CASES = 500, PASSES = 12, LAYERS_MAX = 24 };

static const uint32_t look_aheads[] = {0, 1, 2, 3, 4, 7, UINT32_MAX};
static const double computes_per_page[] = {0, 0.25, 0.5, 1, 1.7, 2, 4};

struct random_case {
    uint32_t n_layers;
    uint64_t pages[LAYERS_MAX], total_pages, largest_pages, capacity_pages;
    bool keep[LAYERS_MAX];
    uint8_t schedule[MODEL_SCHEDULE_STEPS_MAX];
    struct run_plan plan;
    double compute_per_page;
};

/* Sizes whose sum shows which layers it has: 1, 2, 4 and so on, in random order. */
static void draw_telling_sizes(struct random_case *draw)
{
    draw->n_layers = 1 + (uint32_t)random_below(12);
    for (uint32_t i = 0; i < draw->n_layers; i++) {
        uint32_t at = (uint32_t)random_below(i + 1);
        draw->pages[i] = draw->pages[at];
        draw->pages[at] = 1ULL << i;
    }
}

static void draw_sizes(struct random_case *draw)
{
    uint64_t pages_max = 1 + random_below(16);
    draw->n_layers = 1 + (uint32_t)random_below(LAYERS_MAX);
    for (uint32_t i = 0; i < draw->n_layers; i++)
        draw->pages[i] = 1 + random_below(pages_max);
}

/* With sets that may be too large, and that may lack the run's present layer. */
static void draw_schedule(struct random_case *draw)
{
    draw->plan.schedule = draw->schedule;
    draw->plan.period = 1 + (uint32_t)random_below(3);
    for (uint32_t i = 0; i < draw->plan.period * draw->n_layers; i++)
        draw->schedule[i] = (uint8_t)random_below(1U << draw->n_layers);
}

static void draw_case(struct random_case *draw, bool telling)
{
    *draw = (struct random_case){0};
    if (telling)
        draw_telling_sizes(draw);
    else
        draw_sizes(draw);
    for (uint32_t i = 0; i < draw->n_layers; i++) {
        draw->total_pages += draw->pages[i];
        if (draw->largest_pages < draw->pages[i])
            draw->largest_pages = draw->pages[i];
    }
    draw->capacity_pages =
        draw->largest_pages + random_below(draw->total_pages - draw->largest_pages + 2);
    uint64_t one_in = 1 + random_below(5);
    for (uint32_t i = 0; i < draw->n_layers; i++)
        draw->keep[i] = random_below(one_in) == 0;
    draw->plan = (struct run_plan){
        .keep = draw->keep,
        .look_ahead = look_aheads[random_below(sizeof look_aheads / sizeof *look_aheads)],
        .depth = (uint32_t)random_below(RUN_DEPTH_MAX + 1)};
    if (draw->n_layers <= MODEL_SCHEDULE_LAYERS_MAX && random_below(4) > 0)
        draw_schedule(draw);
    draw->compute_per_page =
        computes_per_page[random_below(sizeof computes_per_page / sizeof *computes_per_page)];
}

static uint64_t used_pages(const struct rehearsed *rehearsed)
{
    const struct arena *arena = scheduler_arena(rehearsed->scheduler);
    return arena_capacity_pages(arena) - arena_free_pages(arena);
}

static uint32_t count_ahead(const struct rehearsed *rehearsed)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < rehearsed->model->definition->n_layers; i++) {
        const struct layer *layer = &rehearsed->model->layers[i];
        n += layer->ahead && scheduler_layer_state(rehearsed->scheduler, layer) == LAYER_RESIDENT;
    }
    return n;
}

static void compare(const struct random_case *draw)
{
    struct rehearsed rehearsed;
    struct run_simulation simulation;
    rehearsed_begin(&rehearsed, draw->n_layers, draw->pages, draw->capacity_pages,
                    draw->compute_per_page, &draw->plan);
    ck_assert_int_eq(run_simulation_init(&simulation, draw->n_layers, draw->pages,
                                         draw->capacity_pages, draw->compute_per_page),
                     0);
    run_simulation_reset(&simulation);
    for (unsigned i = 0; i < PASSES; i++) {
        double began = simulation.now;
        struct pass pass;
        struct scheduler_stats stats;
        /* If a schedule does not fit, a layer that was read ahead may block it: then there is no
         * plan. */
        if (!run_simulation_pass(&simulation, &draw->plan)) {
            ck_assert_ptr_nonnull(draw->plan.schedule);
            break;
        }
        ck_assert_int_eq(rehearsal_pass(&rehearsed.rehearsal, &pass), 0);
        scheduler_get_stats(rehearsed.scheduler, &stats);
        ck_assert_uint_eq(simulation.read_pages, stats.loaded_bytes / REHEARSED_PAGE);
        ck_assert_uint_eq(simulation.used_pages, used_pages(&rehearsed));
        ck_assert_uint_eq(simulation.n_ahead, count_ahead(&rehearsed));
        /* The simulation counts times in whole nanoseconds. */
        ck_assert_double_lt(fabs(simulation.now - began - pass.usec / 1000), 1e-3);
    }
    run_simulation_done(&simulation);
    rehearsed_end(&rehearsed);
}

START_TEST(test_does_what_the_scheduler_does)
{
    for (unsigned i = 0; i < CASES; i += case_step()) {
        struct random_case draw;
        draw_case(&draw, _i == 1);
        compare(&draw);
    }
}
END_TEST

START_TEST(test_starts_anew)
{
    static const uint64_t pages[] = {3, 1, 2};
    static const bool keep[3] = {0};
    struct run_plan plan = {keep, 1, 1};
    struct run_simulation simulation;
    ck_assert_int_eq(run_simulation_init(&simulation, 3, pages, 5, 1), 0);
    for (unsigned i = 0; i < 2; i++) {
        run_simulation_reset(&simulation);
        /* 0 to 3: the first is read; to 6: it is computed, and the second read; to 7: the second is
         * computed, because the third fits only in place of the first; to 8: the third is read; to
         * 10: it is computed. */
        ck_assert(run_simulation_pass(&simulation, &plan));
        ck_assert_double_eq_tol(simulation.now, 10, 1e-9);
        ck_assert_uint_le(simulation.used_pages, 5);
    }
    run_simulation_done(&simulation);
    run_simulation_done(&simulation); /* twice is no harm */
}
END_TEST

START_TEST(test_no_place)
{
    static const uint64_t pages[] = {3, 6};
    static const bool keep[2] = {0};
    struct run_simulation simulation;
    ck_assert_int_eq(run_simulation_init(&simulation, 2, pages, 5, 1), 0);
    run_simulation_reset(&simulation);
    ck_assert(!run_simulation_pass(&simulation, &(struct run_plan){keep, 0, 0}));
    run_simulation_done(&simulation);
}
END_TEST

int main(void)
{
    if (!random_begin())
        return EXIT_FAILURE;
    Suite *suite = suite_create("cycle");
    TCase *tcase = tcase_create("cycle");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, test_does_what_the_scheduler_does, 0, 2);
    tcase_add_test(tcase, test_starts_anew);
    tcase_add_test(tcase, test_no_place);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
