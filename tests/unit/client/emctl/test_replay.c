/* Replays against naive ones, which look at every expert for each decision. */
#include "client/emctl/replay.h"
#include "tests/unit/case_step.h"
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <string.h>

enum { LAYERS = 4, EXPERTS = 12, STEPS = 40, USED = 3, PASSES = LAYERS * STEPS };

static struct route_layer layers[LAYERS];
static struct route_pass passes[PASSES];
static uint32_t uses[PASSES * USED];
static struct route_trace trace = {layers, passes, uses, LAYERS, PASSES, PASSES *USED, STEPS};

static bool uses_expert(uint32_t pass, uint32_t layer, uint32_t expert)
{
    if (passes[pass].layer != layer)
        return false;
    for (uint32_t i = 0; i < passes[pass].n; i++)
        if (uses[passes[pass].first + i] == expert)
            return true;
    return false;
}

static void make_trace(uint64_t bytes)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < LAYERS; i++)
        layers[i] = (struct route_layer){bytes > 0 ? bytes : 1 + random_below(9), 0, EXPERTS};
    for (uint32_t pass = 0; pass < PASSES; pass++) {
        passes[pass] = (struct route_pass){pass % LAYERS, n, 0};
        while (passes[pass].n < USED) {
            uint32_t expert = (uint32_t)random_below(1 + random_below(EXPERTS));
            if (uses_expert(pass, pass % LAYERS, expert))
                continue;
            uses[n++] = expert;
            passes[pass].n++;
        }
    }
}

/* When the expert was used last before `pass`, or is used next after it. */
static uint32_t last_use(uint32_t pass, uint32_t layer, uint32_t expert)
{
    while (!uses_expert(--pass, layer, expert))
        ;
    return pass;
}

static uint32_t next_use(uint32_t pass, uint32_t layer, uint32_t expert)
{
    while (++pass < PASSES && !uses_expert(pass, layer, expert))
        ;
    return pass;
}

/* Whether (layer, expert) leaves before the other. */
static bool leaves_before(enum replay_policy policy, uint32_t pass, const uint32_t a[static 2],
                          const uint32_t b[static 2])
{
    return policy == REPLAY_LRU ? last_use(pass, a[0], a[1]) < last_use(pass, b[0], b[1])
                                : next_use(pass, a[0], a[1]) > next_use(pass, b[0], b[1]);
}

static struct replay naive_replay(enum replay_policy policy, uint64_t capacity_bytes)
{
    bool resident[LAYERS][EXPERTS] = {0};
    uint64_t used_bytes = 0;
    struct replay replay = {0};

    for (uint32_t pass = 0; pass < PASSES; pass++)
        for (uint32_t i = 0; i < passes[pass].n; i++) {
            uint32_t layer = passes[pass].layer, expert = uses[passes[pass].first + i];
            if (resident[layer][expert]) {
                replay.n_hits++;
                continue;
            }
            while (used_bytes + layers[layer].expert_bytes > capacity_bytes) {
                uint32_t best[2] = {LAYERS, 0};
                for (uint32_t l = 0; l < LAYERS; l++)
                    for (uint32_t e = 0; e < EXPERTS; e++)
                        if (resident[l][e] && !uses_expert(pass, l, e) &&
                            (best[0] == LAYERS ||
                             leaves_before(policy, pass, (uint32_t[]){l, e}, best)))
                            memcpy(best, (uint32_t[]){l, e}, sizeof best);
                resident[best[0]][best[1]] = false;
                used_bytes -= layers[best[0]].expert_bytes;
            }
            resident[layer][expert] = true;
            used_bytes += layers[layer].expert_bytes;
            replay.read_bytes += layers[layer].expert_bytes;
        }
    return replay;
}

/* Experts of one pass have the same last use, and experts that are not used again the same next
 * one. Where all have the same size, it does not matter for the hits which of them leaves. */
START_TEST(test_against_naive)
{
    ck_assert(random_begin());
    for (int round = 0; round < 60; round += case_step()) {
        make_trace(3);
        uint64_t capacity_bytes = replay_least_bytes(&trace) + random_below(LAYERS * EXPERTS * 3);
        struct replay replays[REPLAY_POLICIES], naive;
        for (enum replay_policy policy = 0; policy < REPLAY_POLICIES; policy++)
            ck_assert_int_eq(replay_run(&trace, policy, capacity_bytes, &replays[policy]), 0);
        naive = naive_replay(REPLAY_FUTURE, capacity_bytes);
        ck_assert_uint_eq(replays[REPLAY_FUTURE].n_hits, naive.n_hits);
        ck_assert_uint_eq(replays[REPLAY_FUTURE].read_bytes, naive.read_bytes);
        ck_assert_uint_le(replays[REPLAY_EXPECTED_USE].n_hits, naive.n_hits);
        ck_assert_uint_le(replays[REPLAY_LRU].n_hits, naive.n_hits);
        for (enum replay_policy policy = 0; policy < REPLAY_POLICIES; policy++)
            ck_assert_uint_eq(replays[policy].n_hits + replays[policy].read_bytes / 3,
                              trace.n_uses);
    }
}
END_TEST

/* One expert a pass, so that no two have the same last use. */
START_TEST(test_lru)
{
    ck_assert(random_begin());
    for (int round = 0; round < 60; round += case_step()) {
        make_trace(0);
        for (uint32_t pass = 0; pass < PASSES; pass++)
            passes[pass].n = 1;
        uint64_t capacity_bytes = replay_least_bytes(&trace) + random_below(LAYERS * EXPERTS * 5);
        struct replay replay, naive = naive_replay(REPLAY_LRU, capacity_bytes);
        ck_assert_int_eq(replay_run(&trace, REPLAY_LRU, capacity_bytes, &replay), 0);
        ck_assert_uint_eq(replay.n_hits, naive.n_hits);
        ck_assert_uint_eq(replay.read_bytes, naive.read_bytes);
    }
}
END_TEST

/* Two experts of each layer are used by every second token, and the others in turn. The cycle is
 * longer than the memory, so the least recently used expert is always the one needed next. */
START_TEST(test_expected_use_keeps_what_is_used_often)
{
    struct replay lru, expected;
    uint32_t n = 0;

    make_trace(1);
    for (uint32_t pass = 0; pass < PASSES; pass++) {
        uint32_t step = pass / LAYERS;
        passes[pass] = (struct route_pass){pass % LAYERS, n, 1};
        uses[n++] = step % 2 == 0 ? step / 2 % 2 : 2 + step / 2 % (EXPERTS - 2);
    }
    trace.n_uses = n;
    ck_assert_int_eq(replay_run(&trace, REPLAY_LRU, 12, &lru), 0);
    ck_assert_int_eq(replay_run(&trace, REPLAY_EXPECTED_USE, 12, &expected), 0);
    ck_assert_uint_eq(lru.n_hits, 0);
    ck_assert_uint_ge(expected.n_hits, n / 3);
    trace.n_uses = PASSES * USED;
}
END_TEST

START_TEST(test_capacity)
{
    ck_assert(random_begin());
    make_trace(7);
    ck_assert_uint_eq(replay_least_bytes(&trace), 7 * USED);
    for (enum replay_policy policy = 0; policy < REPLAY_POLICIES; policy++) {
        struct replay least, all;
        ck_assert_int_eq(replay_run(&trace, policy, 7 * USED - 1, &least), -ENOSPC);
        ck_assert_int_eq(replay_run(&trace, policy, 7 * USED, &least), 0);
        ck_assert_int_eq(replay_run(&trace, policy, UINT64_MAX, &all), 0);
        ck_assert_uint_le(all.read_bytes, (uint64_t)7 * LAYERS * EXPERTS);
        ck_assert_uint_gt(all.n_hits, least.n_hits);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replay");
    TCase *tcase = tcase_create("replay");
    tcase_add_test(tcase, test_against_naive);
    tcase_add_test(tcase, test_lru);
    tcase_add_test(tcase, test_expected_use_keeps_what_is_used_often);
    tcase_add_test(tcase, test_capacity);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
