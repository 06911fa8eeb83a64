/* Random numbers for tests that print their seed. EDGEMIND_SEED repeats a run. */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static uint64_t random_state;

/* splitmix64: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators". */
static inline uint64_t random_below(uint64_t limit)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % limit;
}

/* Gets the seed and prints it. False if that fails. */
static inline bool random_begin(void)
{
    const char *text = getenv("EDGEMIND_SEED");
    if (text)
        random_state = strtoull(text, NULL, 0);
    else if (getrandom(&random_state, sizeof random_state, 0) != sizeof random_state)
        return false;
    printf("EDGEMIND_SEED=%" PRIu64 "\n", random_state);
    fflush(stdout);
    return true;
}
