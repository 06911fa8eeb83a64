/* The shortest steady pass through a small cycle of layers over every schedule of one disk and one
 * client, for tests. Times are whole numbers.
 *
 * A state is the moment at which the disk or the client has finished something: the layer that the
 * client is at and its compute time left (none: it waits for that layer), the layers that are
 * resident or being read, the layer being read and its time left. Whenever the disk is idle a
 * schedule chooses: it stays so until the client moves on, or reads any layer that is absent, any
 * smallest set of others giving way, but the layer that is computed with. A larger resident set is
 * never worse, so smaller sets suffice. What a pass takes at best follows by value iteration: R.
 * Bellman, "Dynamic programming" (1957). */
#pragma once

#include "common/cleanup.h"

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIMUM_LAYERS_MAX = 7, OPTIMUM_NONE = 15, OPTIMUM_WAITING = UINT16_MAX };

struct optimum_state {
    uint16_t computing; /* time left, or OPTIMUM_WAITING */
    uint16_t reading;   /* time left; 0 if no layer is being read */
    uint8_t at, resident, layer;
};

struct optimum_edge {
    uint32_t to, time;
};

struct optimum {
    uint32_t n_layers;
    const uint64_t *pages;
    uint64_t capacity_pages;
    unsigned read_time, compute_time; /* of a page */
    struct optimum_state *states;
    uint32_t *first_edges; /* of each state, in `edges`; one more for the end */
    struct optimum_edge *edges;
    uint32_t n_states, n_edges, states_max, edges_max;
    uint32_t *table, table_size; /* open addressing: a state's number plus one, or 0 */
    uint64_t *times, *began;
};

static inline uint64_t optimum_key(const struct optimum_state *state)
{
    return (uint64_t)state->computing << 32 | (uint64_t)state->reading << 16 |
           (uint64_t)state->at << 12 | (uint64_t)(state->layer) << 8 | state->resident;
}

/* Doubles an array that is full. */
static inline void *optimum_grow(void *array, uint32_t n, uint32_t *max, size_t element_bytes)
{
    if (n < *max)
        return array;
    *max = *max ? 2 * *max : 4096;
    array = reallocarray(array, *max, element_bytes);
    ck_assert_ptr_nonnull(array);
    return array;
}

static inline uint32_t *optimum_slot(const struct optimum *optimum,
                                     const struct optimum_state *state)
{
    uint64_t key = optimum_key(state);
    uint32_t i = (uint32_t)((key * 0x9e3779b97f4a7c15) >> 32) & (optimum->table_size - 1);
    while (optimum->table[i] && optimum_key(&optimum->states[optimum->table[i] - 1]) != key)
        i = (i + 1) & (optimum->table_size - 1);
    return &optimum->table[i];
}

static inline uint32_t optimum_number(struct optimum *optimum, const struct optimum_state *state)
{
    if (2 * optimum->n_states >= optimum->table_size) {
        optimum->table_size = optimum->table_size ? 2 * optimum->table_size : 8192;
        free(optimum->table);
        optimum->table = calloc(optimum->table_size, sizeof *optimum->table);
        ck_assert_ptr_nonnull(optimum->table);
        for (uint32_t i = 0; i < optimum->n_states; i++)
            *optimum_slot(optimum, &optimum->states[i]) = i + 1;
    }
    uint32_t *slot = optimum_slot(optimum, state);
    if (*slot == 0) {
        optimum->states = optimum_grow(optimum->states, optimum->n_states, &optimum->states_max,
                                       sizeof *optimum->states);
        optimum->states[optimum->n_states] = *state;
        *slot = ++optimum->n_states;
    }
    return *slot - 1;
}

static inline void optimum_append_edge(struct optimum *optimum, struct optimum_state to,
                                       uint32_t time)
{
    bool is_there = to.resident >> to.at & 1 && to.layer != to.at;
    if (to.computing == OPTIMUM_WAITING && is_there)
        to.computing = (uint16_t)(optimum->pages[to.at] * optimum->compute_time);
    uint32_t number = optimum_number(optimum, &to);
    optimum->edges =
        optimum_grow(optimum->edges, optimum->n_edges, &optimum->edges_max, sizeof *optimum->edges);
    optimum->edges[optimum->n_edges++] = (struct optimum_edge){number, time};
}

/* Advances to the next moment at which the client or the disk has finished something. */
static inline void optimum_advance(struct optimum *optimum, struct optimum_state state)
{
    bool is_read = state.layer != OPTIMUM_NONE &&
                   (state.computing == OPTIMUM_WAITING || state.reading <= state.computing);
    uint16_t time = is_read ? state.reading : state.computing;
    if (state.computing != OPTIMUM_WAITING)
        state.computing -= time;
    if (state.layer != OPTIMUM_NONE)
        state.reading -= time;
    if (is_read)
        state.layer = OPTIMUM_NONE;
    if (state.computing == 0) {
        state.at = (uint8_t)((state.at + 1U) % optimum->n_layers);
        state.computing = OPTIMUM_WAITING;
    }
    optimum_append_edge(optimum, state, time);
}

static inline uint64_t optimum_pages(const struct optimum *optimum, unsigned layers)
{
    uint64_t n_pages = 0;
    for (uint32_t i = 0; i < optimum->n_layers; i++)
        n_pages += layers >> i & 1 ? optimum->pages[i] : 0;
    return n_pages;
}

/* Chooses enough victims, none of them needlessly. */
static inline bool optimum_suffices(const struct optimum *optimum, unsigned victims,
                                    uint64_t used_pages)
{
    uint64_t left_pages = used_pages - optimum_pages(optimum, victims);
    if (left_pages > optimum->capacity_pages)
        return false;
    for (uint32_t i = 0; i < optimum->n_layers; i++)
        if (victims >> i & 1 && left_pages + optimum->pages[i] <= optimum->capacity_pages)
            return false;
    return true;
}

/* The idle disk reads `layer`. Tries every way to make room for it. */
static inline void optimum_read(struct optimum *optimum, struct optimum_state state, uint32_t layer)
{
    unsigned others = state.resident;
    if (state.computing != OPTIMUM_WAITING)
        others &= ~(1U << state.at);
    uint64_t used_pages = optimum_pages(optimum, state.resident) + optimum->pages[layer];
    for (unsigned victims = others;; victims = (victims - 1) & others) {
        if (optimum_suffices(optimum, victims, used_pages)) {
            struct optimum_state next = state;
            next.resident = (uint8_t)((state.resident & ~victims) | 1U << layer);
            next.layer = (uint8_t)layer;
            next.reading = (uint16_t)(optimum->pages[layer] * optimum->read_time);
            optimum_advance(optimum, next);
        }
        if (victims == 0)
            break;
    }
}

static inline void optimum_expand(struct optimum *optimum, struct optimum_state state)
{
    bool waits = state.computing == OPTIMUM_WAITING;
    if (state.layer != OPTIMUM_NONE || !waits)
        optimum_advance(optimum, state);
    for (uint32_t i = 0; state.layer == OPTIMUM_NONE && i < optimum->n_layers; i++)
        if (!(state.resident >> i & 1) && (!waits || i == state.at))
            optimum_read(optimum, state, i);
}

/* Orders later states first, so that one sweep covers a pass. Among the states at one layer, the
 * less is left to compute, the later is the state. A state that waits for its layer is earlier, and
 * one that also waits for another layer to be read is earlier still. */
static inline uint64_t optimum_rank(const struct optimum_state *state)
{
    bool other = state->layer != OPTIMUM_NONE && state->layer != state->at;
    unsigned left = state->computing == OPTIMUM_WAITING
                        ? OPTIMUM_WAITING + (other                          ? 2U
                                             : state->layer == OPTIMUM_NONE ? 1U
                                                                            : 0U)
                        : state->computing;
    return (uint64_t)(OPTIMUM_LAYERS_MAX - state->at) << 32 | left;
}

static inline int optimum_compare(const void *left, const void *right, void *states)
{
    uint64_t a = optimum_rank((struct optimum_state *)states + *(const uint32_t *)left);
    uint64_t b = optimum_rank((struct optimum_state *)states + *(const uint32_t *)right);
    return (a > b) - (a < b);
}

/* After n passes times[u] is the least time from state u until the client has gone through the rest
 * of its pass and n - 1 more. */
static inline void optimum_sweep(struct optimum *optimum, const uint32_t *order)
{
    for (uint32_t i = 0; i < optimum->n_states; i++) {
        uint32_t state = order[i];
        uint64_t least = UINT64_MAX;
        for (uint32_t j = optimum->first_edges[state]; j < optimum->first_edges[state + 1]; j++) {
            const struct optimum_edge *edge = &optimum->edges[j];
            uint64_t time = edge->time + optimum->times[edge->to];
            if (least > time)
                least = time;
        }
        optimum->times[state] = least;
    }
}

/* A lower bound of the mean time of a pass in the long run, and an upper one, not further apart
 * than `precision` times it. Both hold whatever the arena holds at first. */
static inline void optimum_iterate(struct optimum *optimum, double precision, double *ret_low,
                                   double *ret_high)
{
    _cleanup_(freep) uint32_t *order = reallocarray(NULL, optimum->n_states, sizeof *order);
    ck_assert_ptr_nonnull(order);
    for (uint32_t i = 0; i < optimum->n_states; i++)
        order[i] = i;
    qsort_r(order, optimum->n_states, sizeof *order, optimum_compare, optimum->states);

    for (unsigned n_passes = 12;; n_passes *= 2) {
        memcpy(optimum->began, optimum->times, optimum->n_states * sizeof *optimum->times);
        for (unsigned i = 0; i < n_passes; i++)
            optimum_sweep(optimum, order);
        uint64_t least = UINT64_MAX, most = 0;
        for (uint32_t i = 0; i < optimum->n_states; i++) {
            uint64_t time = optimum->times[i] - optimum->began[i];
            if (optimum->states[i].at != 0)
                continue;
            least = time < least ? time : least;
            most = time > most ? time : most;
        }
        *ret_low = (double)least / n_passes;
        *ret_high = (double)most / n_passes;
        if (*ret_high - *ret_low <= precision * *ret_high || n_passes > 3000)
            return;
    }
}

/* From an empty arena on. Every layer fits, times below 2^16. */
static inline void optimum_pass(uint32_t n_layers, const uint64_t *pages, uint64_t capacity_pages,
                                unsigned read_time, unsigned compute_time, double precision,
                                double *ret_low, double *ret_high)
{
    struct optimum optimum = {.n_layers = n_layers,
                              .pages = pages,
                              .capacity_pages = capacity_pages,
                              .read_time = read_time,
                              .compute_time = compute_time};
    uint32_t first_edges_max = 0;
    ck_assert_uint_le(n_layers, OPTIMUM_LAYERS_MAX);
    optimum_number(&optimum,
                   &(struct optimum_state){.computing = OPTIMUM_WAITING, .layer = OPTIMUM_NONE});
    for (uint32_t i = 0; i < optimum.n_states; i++) {
        optimum.first_edges =
            optimum_grow(optimum.first_edges, i + 1, &first_edges_max, sizeof *optimum.first_edges);
        optimum.first_edges[i] = optimum.n_edges;
        optimum_expand(&optimum, optimum.states[i]);
        optimum.first_edges[i + 1] = optimum.n_edges;
    }
    optimum.times = calloc(optimum.n_states, sizeof *optimum.times);
    optimum.began = calloc(optimum.n_states, sizeof *optimum.began);
    ck_assert_ptr_nonnull(optimum.times);
    ck_assert_ptr_nonnull(optimum.began);
    optimum_iterate(&optimum, precision, ret_low, ret_high);
    free(optimum.states);
    free(optimum.first_edges);
    free(optimum.edges);
    free(optimum.table);
    free(optimum.times);
    free(optimum.began);
}
