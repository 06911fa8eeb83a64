/* decide N
 * Times the policy expected-use with N evictable layers: 48 groups of parts, as a mixture of
 * experts has them, where each request evicts one layer. Prints the median and the 99th percentile
 * of a request's microseconds, and how many bytes each layer takes for the policy. */
#include "common/clock.h"
#include "common/definition/definition_parse.h"
#include "common/residency/expected_use.h"
#include "daemon/scheduler/scheduler.h"

#include <err.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { GROUPS = 48, BYTES = 4096, DECISIONS = 20000 };

static struct definition *define(unsigned n_layers)
{
    struct definition *definition;
    struct definition_problem problem;
    char *text;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);

    if (!stream)
        err(1, "memory");
    fprintf(stream, "{\"name\": \"m\", \"layers\": [");
    for (unsigned i = 0; i < n_layers; i++)
        fprintf(stream, "%s{\"name\": \"g%u:%u\", \"bytes\": %d}", i ? "," : "",
                i / (n_layers / GROUPS + 1), i + 1, BYTES);
    fprintf(stream, "]}");
    fclose(stream);
    if (definition_parse(text, n_bytes, &definition, &problem) < 0)
        errx(1, "%s", problem.message);
    free(text);
    return definition;
}

static const char *name_of(const void *definition, uint32_t layer)
{
    return ((const struct definition *)definition)->layers[layer].name;
}

static void use(struct scheduler *scheduler, struct layer *layer, uint64_t now_usec)
{
    struct verdict verdict;

    if (scheduler_request(scheduler, layer, ON_FULL_EVICT, now_usec, &verdict) < 0)
        errx(1, "no memory");
    if (verdict.outcome == OUTCOME_RESERVED)
        scheduler_complete(scheduler, layer, now_usec);
    verdict_done(&verdict);
}

/* Some layers of a group are much more likely than others. */
static unsigned choose(unsigned n)
{
    return (unsigned)random() % ((unsigned)random() % n + 1);
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    static double usec[DECISIONS];
    unsigned n_layers = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0, n = 0;
    struct model_refusal refusal;
    struct scheduler *scheduler;
    struct model *model;
    struct arena *arena;

    if (n_layers < GROUPS)
        errx(2, "usage: decide N, at least %d", GROUPS);
    struct definition *definition = define(n_layers);
    size_t before_bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
    struct layer_uses *uses = layer_uses_new(name_of, definition, n_layers);
    size_t unit_bytes = (mallinfo2().uordblks + mallinfo2().hblkhd - before_bytes) / n_layers;
    layer_uses_free(uses);
    /* A twentieth of the layers has no place. */
    if (arena_new((uint64_t)(n_layers - n_layers / 20) * BYTES, BYTES, &arena) < 0 ||
        scheduler_new(arena, &policy_expected_use, &scheduler) < 0 ||
        scheduler_add_model(scheduler, definition, &model, &refusal) < 0)
        errx(1, "no scheduler");
    for (unsigned i = 0; i < n_layers; i++)
        use(scheduler, &model->layers[i], i);
    for (uint64_t now = n_layers; n < DECISIONS; now++) {
        unsigned per_group = n_layers / GROUPS, group = now / 8 % GROUPS;
        struct layer *layer = &model->layers[group * per_group + choose(per_group)];
        bool is_hit = scheduler_layer_state(scheduler, layer) == LAYER_RESIDENT;
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        use(scheduler, layer, now);
        clock_gettime(CLOCK_MONOTONIC, &end);
        if (!is_hit)
            usec[n++] = (double)(end.tv_sec - begin.tv_sec) * 1e6 +
                        (double)(end.tv_nsec - begin.tv_nsec) / 1e3;
    }
    qsort(usec, n, sizeof *usec, compare);
    printf("%.2f %zu\n", usec[n / 2], unit_bytes);
    scheduler_free(scheduler);
    definition_unref(definition);
    return 0;
}
