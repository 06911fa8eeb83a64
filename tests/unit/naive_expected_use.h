/* The expected next use of units, computed for each unit from the formula. The program that
 * includes this defines `naive`. */
#pragma once

#include "common/residency/expected_use.h"

#include <math.h>

enum { LAYERS = 6, UNITS = 48, FOLLOWERS_KEPT = 10, RECENT = 16 };

struct naive {
    uint32_t n_layers, n_units[LAYERS], at;
    bool offered[LAYERS][UNITS];
    double short_frequency[LAYERS][UNITS], long_frequency[LAYERS][UNITS]; /* at the next pass */
    int n_uses[LAYERS][UNITS], follows[LAYERS][UNITS][UNITS];
    uint32_t recent[LAYERS][RECENT], n_recent[LAYERS];
};
extern struct naive naive;

static inline void naive_follow(int counts[static UNITS], uint32_t follower)
{
    int n_kept = 0;
    for (int i = 0; i < UNITS; i++)
        n_kept += counts[i] > 0;
    if (counts[follower] > 0 || n_kept < FOLLOWERS_KEPT)
        counts[follower]++;
    else
        for (int i = 0; i < UNITS; i++)
            counts[i] -= counts[i] > 0;
}

static inline void naive_pass(uint32_t layer, const uint32_t *units, uint32_t n)
{
    bool used[UNITS] = {0};

    naive.at = layer;
    for (uint32_t i = 0; n <= RECENT && i < naive.n_recent[layer]; i++)
        for (uint32_t j = 0; j < n; j++)
            naive_follow(naive.follows[layer][naive.recent[layer][i]], units[j]);
    naive.n_recent[layer] = n <= RECENT ? n : 0;
    for (uint32_t i = 0; i < n; i++) {
        used[units[i]] = true;
        if (naive.n_uses[layer][units[i]]++ == UINT8_MAX) {
            naive.n_uses[layer][units[i]] = UINT8_MAX / 2 + 1;
            for (uint32_t j = 0; j < UNITS; j++)
                naive.follows[layer][units[i]][j] /= 2;
        }
        if (n <= RECENT)
            naive.recent[layer][i] = units[i];
    }
    for (uint32_t i = 0; i < naive.n_units[layer]; i++) {
        double *s = &naive.short_frequency[layer][i], *l = &naive.long_frequency[layer][i];
        *s = (*s + (used[i] ? 1 / 1.3 : 0)) * (1 - 1 / 1.3);
        *l = (*l + (used[i] ? 1 / 30.0 : 0)) * (1 - 1 / 30.0);
    }
}

static inline double naive_distance(struct unit_id unit)
{
    uint32_t l = unit.layer, n_on = (l + naive.n_layers - naive.at - 1) % naive.n_layers + 1;
    double p =
        1e-3 + naive.short_frequency[l][unit.index] / 2 + naive.long_frequency[l][unit.index] / 2;

    for (uint32_t i = 0; i < naive.n_recent[l]; i++) {
        uint32_t recent = naive.recent[l][i];
        p += 0.2 * naive.follows[l][recent][unit.index] / (naive.n_uses[l][recent] + 3);
    }
    return 3.0 * n_on / naive.n_layers + 1 / fmin(p, 1) - 1;
}

static inline double naive_furthest(void)
{
    double furthest = -1;

    for (uint32_t l = 0; l < naive.n_layers; l++)
        for (uint32_t i = 0; i < naive.n_units[l]; i++)
            if (naive.offered[l][i])
                furthest = fmax(furthest, naive_distance((struct unit_id){l, i}));
    return furthest;
}
