#include "client/emctl/route_guess.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators". */
static uint32_t random_below(uint64_t *state, uint32_t limit)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (uint32_t)((z ^ (z >> 31)) % limit);
}

/* `last` are the `n_last` experts of the last token in this layer. The first experts are the
 * preferred ones, because it does not matter which they are. */
static uint32_t guess_expert(uint64_t *state, const uint32_t *last, uint32_t n_last,
                             uint32_t n_experts)
{
    enum { PRECISION = 1 << 16 };

    if (n_last > 0 && random_below(state, 100) < ROUTE_GUESS_AGAIN_PERCENT)
        return last[random_below(state, n_last)];
    uint64_t chance = random_below(state, PRECISION);
    return (uint32_t)(chance * chance / PRECISION * n_experts / ROUTE_GUESS_PREFERRED / PRECISION);
}

static bool has(const uint32_t *uses, uint32_t n, uint32_t expert)
{
    for (uint32_t i = 0; i < n; i++)
        if (uses[i] == expert)
            return true;
    return false;
}

/* Appends a pass of `n` different experts. `last` is the layer's last pass, or NULL. */
static void guess_pass(struct route_trace *trace, uint64_t *state, uint32_t layer, uint32_t n,
                       const struct route_pass *last)
{
    struct route_pass *pass = &trace->passes[trace->n_passes++];
    uint32_t n_experts = trace->layers[layer].n_experts;

    *pass = (struct route_pass){layer, trace->n_uses, 0};
    while (pass->n < n) {
        uint32_t *uses = trace->uses + pass->first;
        uint32_t expert = guess_expert(state, last ? trace->uses + last->first : NULL,
                                       last ? last->n : 0, n_experts);
        while (has(uses, pass->n, expert))
            expert = (expert + 1) % n_experts;
        uses[pass->n++] = expert;
    }
    trace->n_uses += pass->n;
}

int route_guess(const struct route_layer *layers, uint32_t n_layers, uint32_t n_used,
                struct route_trace *ret)
{
    _cleanup_(route_trace_done) struct route_trace trace = {.n_layers = n_layers,
                                                            .n_steps = ROUTE_GUESS_TOKENS};
    uint64_t state = 1, n_uses = 0;
    uint32_t n_moe_layers = 0;

    for (uint32_t i = 0; i < n_layers; i++) {
        n_moe_layers += layers[i].n_experts > 0;
        n_uses += layers[i].n_experts < n_used ? layers[i].n_experts : n_used;
    }
    if (n_uses * ROUTE_GUESS_TOKENS > ROUTE_USES_MAX)
        return -E2BIG;
    trace.layers = calloc((size_t)n_layers + 1, sizeof *trace.layers);
    trace.passes = calloc((size_t)n_moe_layers * ROUTE_GUESS_TOKENS + 1, sizeof *trace.passes);
    trace.uses = calloc(n_uses * ROUTE_GUESS_TOKENS + 1, sizeof *trace.uses);
    if (!trace.layers || !trace.passes || !trace.uses)
        return -ENOMEM;
    memcpy(trace.layers, layers, n_layers * sizeof *layers);
    for (uint32_t token = 0; token < ROUTE_GUESS_TOKENS; token++)
        for (uint32_t i = 0; i < n_layers; i++) {
            uint32_t n = layers[i].n_experts < n_used ? layers[i].n_experts : n_used;
            if (n > 0)
                guess_pass(&trace, &state, i, n,
                           token > 0 ? &trace.passes[trace.n_passes - n_moe_layers] : NULL);
        }
    *ret = trace;
    trace = (struct route_trace){0};
    return 0;
}
