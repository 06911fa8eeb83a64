/* The planner's choice must not be slower than two ways from the literature, in a grid of models
 * and arenas, and for small models not much slower than the best schedule. The time of a plan is
 * measured with the scheduler's own code, over whole periods. */
#include "daemon/scheduler/planner.h"

#include "tests/unit/case_step.h"
#include "tests/unit/optimum.h"
#include "tests/unit/random.h"
#include "tests/unit/rehearse.h"
#include "tests/unit/run_suite.h"

#include <math.h>

enum {
    LAYERS_MAX = 80,
    PASSES_MAX = 512,
    MIXED_CASES = 1000,
    GRIDS = 1 /* of models for each number of layers */
};
static const double SLOWER_MAX = 1 + 1e-6, OVER_OPTIMUM_MAX = 1.1;

/* Time to read, over time to compute. */
static const struct ratio {
    unsigned read, compute;
} ratios[] = {{1, 4}, {1, 2}, {1, 1}, {2, 1}, {4, 1}};
enum { N_RATIOS = sizeof ratios / sizeof *ratios };

struct problem {
    uint32_t n_layers;
    uint64_t pages[LAYERS_MAX], total_pages, largest_pages, capacity_pages;
    struct ratio ratio;
};

/* EDGEMIND_CASES times as many. */
static unsigned n_cases(unsigned n)
{
    const char *text = getenv("EDGEMIND_CASES");
    return text ? n * (unsigned)strtoul(text, NULL, 10) : n;
}

static double compute_per_page(const struct problem *problem)
{
    return (double)problem->ratio.compute / problem->ratio.read;
}

/* Sizes from 1 to `pages_max`. */
static void draw_sizes(struct problem *problem, uint32_t n_layers, uint64_t pages_max)
{
    *problem = (struct problem){.n_layers = n_layers};
    for (uint32_t i = 0; i < n_layers; i++) {
        problem->pages[i] = 1 + random_below(pages_max);
        problem->total_pages += problem->pages[i];
        if (problem->largest_pages < problem->pages[i])
            problem->largest_pages = problem->pages[i];
    }
}

static void print_problem(const struct problem *problem, const char *what, double ratio)
{
    printf("%s %.4f: %" PRIu64 " pages, read/compute %u/%u, layers", what, ratio,
           problem->capacity_pages, problem->ratio.read, problem->ratio.compute);
    for (uint32_t i = 0; i < problem->n_layers; i++)
        printf(" %" PRIu64, problem->pages[i]);
    printf("\n");
    fflush(stdout); /* what follows may end this process */
}

/* The state after a pass: the resident layers, those of them that were read ahead, and the
 * remaining work of the disk. */
struct state {
    uint8_t layers[LAYERS_MAX];
    double lead_usec;
};

static void describe(const struct rehearsed *rehearsed, struct state *ret)
{
    double lead_usec = rehearsed->rehearsal.disk_free_usec - rehearsed->rehearsal.now_usec;
    *ret = (struct state){.lead_usec = lead_usec > 0 ? lead_usec : 0};
    for (uint32_t i = 0; i < rehearsed->model->definition->n_layers; i++) {
        const struct layer *layer = &rehearsed->model->layers[i];
        bool is_there = scheduler_layer_state(rehearsed->scheduler, layer) == LAYER_RESIDENT;
        ret->layers[i] = (uint8_t)(is_there + (is_there && layer->ahead));
    }
}

static bool is_same(const struct state *state, const struct state *other)
{
    return memcmp(state->layers, other->layers, sizeof state->layers) == 0 &&
           fabs(state->lead_usec - other->lead_usec) < 0.01;
}

static void rehearse_pass(struct rehearsed *rehearsed)
{
    struct pass pass;
    ck_assert_int_eq(rehearsal_pass(&rehearsed->rehearsal, &pass), 0);
}

/* The mean time of a pass, in units of the time to read a page, over a period of repeating passes;
 * or over the second half if they do not repeat within PASSES_MAX. */
static double measure(const struct problem *problem, const struct run_plan *plan)
{
    struct rehearsed rehearsed;
    struct state state, saved;
    double began_usec = 0;
    unsigned n_passes = 0, n_saved = 0;
    bool repeats;
    rehearsed_begin(&rehearsed, problem->n_layers, problem->pages, problem->capacity_pages,
                    compute_per_page(problem), plan);
    do {
        if ((n_passes & (n_passes - 1)) == 0) {
            describe(&rehearsed, &saved);
            n_saved = n_passes;
            began_usec = rehearsed.rehearsal.now_usec;
        }
        rehearse_pass(&rehearsed);
        n_passes++;
        describe(&rehearsed, &state);
        repeats = is_same(&state, &saved) &&
                  (!plan->schedule || (n_passes - n_saved) % plan->period == 0);
    } while (!repeats && n_passes < PASSES_MAX);
    double usec = rehearsed.rehearsal.now_usec - began_usec;
    rehearsed_end(&rehearsed);
    return usec / 1000 / (n_passes - n_saved);
}

static double measure_planned(const struct problem *problem)
{
    bool keep[LAYERS_MAX];
    uint8_t schedule[MODEL_SCHEDULE_STEPS_MAX];
    struct run_plan plan;
    ck_assert_int_eq(planner_plan(problem->n_layers, problem->pages, problem->capacity_pages,
                                  compute_per_page(problem), 0, keep, schedule, &plan),
                     0);
    return measure(problem, &plan);
}

/* Synchronous MIN. */
static double measure_min(const struct problem *problem)
{
    static const bool keep[LAYERS_MAX];
    return measure(problem, &(struct run_plan){.keep = keep});
}

/* The maximum size of two consecutive streamed layers if the first `n` layers are kept. */
static uint64_t ring_pages(const struct problem *problem, uint32_t n)
{
    uint64_t most = 0;
    for (uint32_t i = n; i < problem->n_layers; i++) {
        uint32_t after = i + 1 < problem->n_layers ? i + 1 : n;
        uint64_t pages = problem->pages[i] + (after == i ? 0 : problem->pages[after]);
        most = most > pages ? most : pages;
    }
    return most;
}

/* Keeps as many of the first layers as fit beside a ring of two slots for the others. */
static double measure_first_kept(const struct problem *problem)
{
    bool keep[LAYERS_MAX] = {0};
    uint64_t kept_pages = 0;
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < problem->n_layers; i++) {
        if (kept_pages + ring_pages(problem, i) <= problem->capacity_pages)
            n_kept = i;
        kept_pages += problem->pages[i];
    }
    memset(keep, true, n_kept);
    return measure(problem, &(struct run_plan){keep, UINT32_MAX, 1, NULL, 0});
}

static double over_the_known_ways(const struct problem *problem)
{
    double min = measure_min(problem), first_kept = measure_first_kept(problem);
    double ratio = measure_planned(problem) / (min < first_kept ? min : first_kept);
    if (ratio > SLOWER_MAX)
        print_problem(problem, "slower", ratio);
    return ratio;
}

/* Loop test: over the numbers of layers. */
START_TEST(test_never_slower_than_the_known_ways)
{
    static const uint64_t sizes[] = {1, 16};
    double worst = 0;
    for (unsigned i = 0; i < n_cases(GRIDS) * 2 * 8 * N_RATIOS; i += case_step()) {
        struct problem problem;
        uint64_t percent = 20 + i / N_RATIOS % 8 * 10;
        draw_sizes(&problem, 10U << _i, sizes[i / (8 * N_RATIOS) % 2]);
        problem.ratio = ratios[i % N_RATIOS];
        problem.capacity_pages = problem.total_pages * percent / 100;
        if (problem.capacity_pages < problem.largest_pages)
            problem.capacity_pages = problem.largest_pages;
        double ratio = over_the_known_ways(&problem);
        worst = worst > ratio ? worst : ratio;
    }
    ck_assert_double_le(worst, SLOWER_MAX);
}
END_TEST

static double over_optimum(const struct problem *problem)
{
    double low, high;
    optimum_pass(problem->n_layers, problem->pages, problem->capacity_pages, problem->ratio.read,
                 problem->ratio.compute, 1e-3, &low, &high);
    double ratio = measure_planned(problem) * problem->ratio.read / low;
    ck_assert_double_ge(ratio, 1 - 1e-6); /* nothing is faster than an optimum */
    return ratio;
}

START_TEST(test_small_equal_layers)
{
    for (uint32_t n_layers = 2; n_layers <= OPTIMUM_LAYERS_MAX; n_layers++)
        for (uint64_t n_fit = 1; n_fit < n_layers; n_fit++)
            for (unsigned i = 0; i < N_RATIOS; i++) {
                struct problem problem;
                draw_sizes(&problem, n_layers, 1);
                problem.ratio = ratios[i];
                problem.capacity_pages = n_fit;
                double ratio = over_optimum(&problem);
                if (ratio > OVER_OPTIMUM_MAX)
                    print_problem(&problem, "over the optimum", ratio);
                ck_assert_double_le(ratio, OVER_OPTIMUM_MAX);
            }
}
END_TEST

START_TEST(test_small_mixed_layers)
{
    double worst = 0;
    for (unsigned i = 0; i < n_cases(MIXED_CASES); i += case_step()) {
        struct problem problem;
        draw_sizes(&problem, 2 + (uint32_t)random_below(OPTIMUM_LAYERS_MAX - 1),
                   4ULL << random_below(3));
        problem.ratio = ratios[random_below(N_RATIOS)];
        problem.capacity_pages =
            problem.largest_pages + random_below(problem.total_pages - problem.largest_pages);
        double ratio = over_optimum(&problem);
        worst = worst > ratio ? worst : ratio;
        if (ratio > OVER_OPTIMUM_MAX)
            print_problem(&problem, "over the optimum", ratio);
    }
    printf("mixed sizes: at worst %.4f of the optimum\n", worst);
    ck_assert_double_le(worst, OVER_OPTIMUM_MAX);
}
END_TEST

START_TEST(test_what_fits_is_left_alone)
{
    static const uint64_t pages[] = {3, 1, 2};
    bool keep[3];
    uint8_t schedule[MODEL_SCHEDULE_STEPS_MAX];
    struct run_plan plan;
    ck_assert_int_eq(planner_plan(3, pages, 6, 1, 0, keep, schedule, &plan), 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert(!plan.keep[i]);
    ck_assert_uint_ge(plan.depth, 1);
    ck_assert_uint_ge(plan.look_ahead, 1);
}
END_TEST

/* If computing takes no time, only reading counts; if reading takes almost no time, nothing has to
 * wait. */
START_TEST(test_extremes)
{
    struct problem problem;
    draw_sizes(&problem, 24, 1);
    problem.capacity_pages = 12;
    problem.ratio = (struct ratio){1, 0};
    ck_assert_double_le(measure_planned(&problem), measure_min(&problem) + 1e-3);
    problem.ratio = (struct ratio){1, 100};
    ck_assert_double_le(measure_planned(&problem), 24 * 100 + 1e-3);
}
END_TEST

/* A plan is for a share of the arena and for certain rates; a model gets a new plan when these
 * change. */
START_TEST(test_choosing)
{
    static const bool nothing[8];
    static const uint64_t pages[] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct rehearsed rehearsed;
    rehearsed_begin(&rehearsed, 8, pages, 4, 1, &(struct run_plan){.keep = nothing});
    struct model *model = rehearsed.model;
    struct rehearsal_rates rates = {REHEARSED_PAGE * 1000, 8 * 1000};
    ck_assert_int_eq(planner_choose(rehearsed.scheduler, model, &rates), 0);
    ck_assert_uint_gt(model->look_ahead, 0);
    ck_assert_uint_gt(model->depth, 0);
    ck_assert_uint_eq(model->planned_pages, 4);

    model->depth = 0; /* a plan for almost the same values stays */
    ck_assert_int_eq(planner_choose(rehearsed.scheduler, model, &rates), 0);
    rates.compute_usec = rates.compute_usec * 5 / 4;
    ck_assert_int_eq(planner_choose(rehearsed.scheduler, model, &rates), 0);
    ck_assert_uint_eq(model->depth, 0);
    rates.compute_usec *= 2;
    ck_assert_int_eq(planner_choose(rehearsed.scheduler, model, &rates), 0);
    ck_assert_uint_gt(model->depth, 0);

    /* Unknown rates count as equal. */
    ck_assert_int_eq(planner_choose(rehearsed.scheduler, model, &(struct rehearsal_rates){0}), 0);
    ck_assert_double_eq_tol(model->planned_compute_per_page, 1, 1e-9);

    /* Another model of the same size with a run gets half of the arena. */
    uint64_t bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = REHEARSED_PAGE;
    _cleanup_(definition_unrefp) struct definition *definition = define("other", bytes, 8);
    struct model *other;
    struct model_refusal refusal;
    struct run *run;
    ck_assert_int_eq(scheduler_add_model(rehearsed.scheduler, definition, &other, &refusal), 0);
    ck_assert_int_eq(planner_choose(rehearsed.scheduler, model, &rates), 0);
    ck_assert_uint_eq(model->planned_pages, 4);
    ck_assert_int_eq(scheduler_begin_run(rehearsed.scheduler, other, &run), 0);
    ck_assert_int_eq(planner_choose(rehearsed.scheduler, model, &rates), 0);
    ck_assert_uint_eq(model->planned_pages, 2);
    scheduler_end_run(rehearsed.scheduler, run);
    ck_assert_int_eq(planner_choose(rehearsed.scheduler, model, &rates), 0);
    ck_assert_uint_eq(model->planned_pages, 4);
    rehearsed_end(&rehearsed);
}
END_TEST

/* More layers than are simulated, and a share that has no room even for one layer. */
START_TEST(test_without_rehearsal)
{
    enum { MANY = 2000 };
    static uint64_t pages[MANY];
    static bool keep[MANY];
    uint8_t schedule[MODEL_SCHEDULE_STEPS_MAX];
    uint64_t kept_pages = 0;
    struct run_plan plan;
    for (unsigned i = 0; i < MANY; i++)
        pages[i] = 1 + i % 3;
    ck_assert_int_eq(planner_plan(MANY, pages, MANY, 1, 0, keep, schedule, &plan), 0);
    ck_assert_uint_gt(plan.depth, 0);
    for (unsigned i = 0; i < MANY; i++)
        kept_pages += plan.keep[i] ? pages[i] : 0;
    ck_assert_uint_gt(kept_pages, MANY * 9 / 10);
    ck_assert_uint_le(kept_pages, MANY - 2);

    ck_assert_int_eq(planner_plan(8, pages, 1, 1, 0, keep, schedule, &plan), 0);
    for (unsigned i = 0; i < 8; i++)
        ck_assert(!plan.keep[i]);
    ck_assert_int_eq(planner_plan(MANY, pages, 1, 1, 0, keep, schedule, &plan), 0);
    for (unsigned i = 0; i < MANY; i++)
        ck_assert(!plan.keep[i]);
    ck_assert_int_eq(planner_plan(MANY, pages, 0, 1, 0, keep, schedule, &plan), 0);
}
END_TEST

int main(void)
{
    if (!random_begin())
        return EXIT_FAILURE;
    Suite *suite = suite_create("planner");
    TCase *tcase = tcase_create("planner");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, test_never_slower_than_the_known_ways, 0, 4);
    tcase_add_test(tcase, test_small_equal_layers);
    tcase_add_test(tcase, test_small_mixed_layers);
    tcase_add_test(tcase, test_what_fits_is_left_alone);
    tcase_add_test(tcase, test_extremes);
    tcase_add_test(tcase, test_choosing);
    tcase_add_test(tcase, test_without_rehearsal);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
