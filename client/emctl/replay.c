/* Two of the policies choose by one number for each expert: the time of its last use, or of its
 * next one. Such a policy is a heap of the offered experts, the furthest first. Entries that no
 * longer hold remain in the heap until they reach its top. */
#include "client/emctl/replay.h"

#include "common/residency/expected_use.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

enum { NO_PASS = UINT32_MAX };

struct entry {
    uint32_t key, expert; /* the largest key leaves first */
};

/* Experts have numbers, layer by layer. */
struct memory {
    const struct route_trace *trace;
    enum replay_policy policy;
    uint32_t *first_expert; /* of each layer */
    bool *is_resident, *is_offered;
    uint32_t *keys;      /* of each expert */
    uint32_t *next_pass; /* of each use in the trace: the pass that uses the expert again */
    struct entry *heap;
    uint32_t n_heap;
    struct expected_use *expected;
    uint64_t used_bytes;
};

static uint32_t number_of(const struct memory *memory, struct unit_id unit)
{
    return memory->first_expert[unit.layer] + unit.index;
}

static struct unit_id unit_of(const struct memory *memory, uint32_t expert)
{
    uint32_t low = 0, high = memory->trace->n_layers;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        *(memory->first_expert[middle] <= expert ? &low : &high) = middle;
    }
    return (struct unit_id){low, expert - memory->first_expert[low]};
}

static void push(struct memory *memory, struct entry entry)
{
    uint32_t at = memory->n_heap++;

    for (; at > 0 && memory->heap[(at - 1) / 2].key < entry.key; at = (at - 1) / 2)
        memory->heap[at] = memory->heap[(at - 1) / 2];
    memory->heap[at] = entry;
}

static void pop(struct memory *memory)
{
    struct entry moved = memory->heap[--memory->n_heap];
    uint32_t at = 0;

    for (uint32_t child; (child = 2 * at + 1) < memory->n_heap; at = child) {
        child +=
            child + 1 < memory->n_heap && memory->heap[child + 1].key > memory->heap[child].key;
        if (memory->heap[child].key <= moved.key)
            break;
        memory->heap[at] = memory->heap[child];
    }
    memory->heap[at] = moved;
}

static void set_offered(struct memory *memory, struct unit_id unit, bool is_offered)
{
    uint32_t expert = number_of(memory, unit);

    if (memory->expected)
        (is_offered ? expected_use_offer : expected_use_withdraw)(memory->expected, unit);
    else if (is_offered)
        push(memory, (struct entry){memory->keys[expert], expert});
    memory->is_offered[expert] = is_offered;
}

/* There is always one, because the capacity holds the experts of any pass. */
static struct unit_id choose(struct memory *memory)
{
    struct unit_id unit = {0};

    if (memory->expected) {
        bool found = expected_use_choose(memory->expected, &unit);
        assert(found);
        (void)found;
        return unit;
    }
    for (;; pop(memory)) {
        assert(memory->n_heap > 0);
        struct entry top = memory->heap[0];
        if (memory->is_offered[top.expert] && memory->keys[top.expert] == top.key)
            return unit_of(memory, top.expert);
    }
}

static void evict(struct memory *memory)
{
    struct unit_id unit = choose(memory);

    set_offered(memory, unit, false);
    memory->is_resident[number_of(memory, unit)] = false;
    memory->used_bytes -= memory->trace->layers[unit.layer].expert_bytes;
}

static void begin_pass(struct memory *memory, uint32_t at)
{
    const struct route_trace *trace = memory->trace;
    const struct route_pass *pass = &trace->passes[at];

    for (uint32_t i = pass->first; i < pass->first + pass->n; i++) {
        struct unit_id unit = {pass->layer, trace->uses[i]};
        uint32_t expert = number_of(memory, unit);
        if (memory->is_offered[expert])
            set_offered(memory, unit, false);
        memory->keys[expert] =
            memory->policy == REPLAY_LRU ? trace->n_passes - at : memory->next_pass[i];
    }
    if (memory->expected)
        expected_use_pass(memory->expected, pass->layer, trace->uses + pass->first, pass->n);
}

static void replay_pass(struct memory *memory, uint32_t at, uint64_t capacity_bytes,
                        struct replay *replay)
{
    const struct route_trace *trace = memory->trace;
    const struct route_pass *pass = &trace->passes[at];
    uint64_t bytes = trace->layers[pass->layer].expert_bytes;

    begin_pass(memory, at);
    for (uint32_t i = pass->first; i < pass->first + pass->n; i++) {
        bool *is_resident =
            &memory->is_resident[memory->first_expert[pass->layer] + trace->uses[i]];
        if (*is_resident) {
            replay->n_hits++;
            continue;
        }
        while (bytes > capacity_bytes - memory->used_bytes)
            evict(memory);
        memory->used_bytes += bytes;
        replay->read_bytes += bytes;
        *is_resident = true;
    }
    for (uint32_t i = pass->first; i < pass->first + pass->n; i++)
        set_offered(memory, (struct unit_id){pass->layer, trace->uses[i]}, true);
}

static void find_next_passes(struct memory *memory, uint32_t n_experts)
{
    const struct route_trace *trace = memory->trace;

    for (uint32_t i = 0; i < n_experts; i++)
        memory->keys[i] = NO_PASS;
    for (uint32_t at = trace->n_passes; at-- > 0;)
        for (uint32_t i = trace->passes[at].first;
             i < trace->passes[at].first + trace->passes[at].n; i++) {
            uint32_t *key =
                &memory->keys[memory->first_expert[trace->passes[at].layer] + trace->uses[i]];
            memory->next_pass[i] = *key;
            *key = at;
        }
}

static int start_expected(const struct route_trace *trace, struct expected_use **ret)
{
    _cleanup_(freep) uint32_t *n_units = calloc(trace->n_layers, sizeof *n_units);

    if (!n_units)
        return -ENOMEM;
    for (uint32_t i = 0; i < trace->n_layers; i++)
        n_units[i] = trace->layers[i].n_experts;
    return expected_use_new(n_units, trace->n_layers, ret);
}

static void memory_done(struct memory *memory)
{
    free(memory->first_expert);
    free(memory->is_resident);
    free(memory->is_offered);
    free(memory->keys);
    free(memory->next_pass);
    free(memory->heap);
    if (memory->expected)
        expected_use_free(memory->expected);
}

static int memory_init(struct memory *memory)
{
    const struct route_trace *trace = memory->trace;
    uint32_t n_experts = 0;

    memory->first_expert = calloc(trace->n_layers, sizeof *memory->first_expert);
    if (!memory->first_expert)
        return -ENOMEM;
    for (uint32_t i = 0; i < trace->n_layers; i++) {
        memory->first_expert[i] = n_experts;
        n_experts += trace->layers[i].n_experts;
    }
    memory->is_resident = calloc(n_experts, sizeof *memory->is_resident);
    memory->is_offered = calloc(n_experts, sizeof *memory->is_offered);
    memory->keys = calloc(n_experts, sizeof *memory->keys);
    memory->next_pass = calloc(trace->n_uses, sizeof *memory->next_pass);
    memory->heap = calloc(trace->n_uses, sizeof *memory->heap);
    if (!memory->is_resident || !memory->is_offered || !memory->keys || !memory->next_pass ||
        !memory->heap)
        return -ENOMEM;
    find_next_passes(memory, n_experts);
    return memory->policy == REPLAY_EXPECTED_USE ? start_expected(trace, &memory->expected) : 0;
}

uint64_t replay_least_bytes(const struct route_trace *trace)
{
    uint64_t least_bytes = 0;

    for (uint32_t i = 0; i < trace->n_passes; i++) {
        const struct route_pass *pass = &trace->passes[i];
        uint64_t bytes = trace->layers[pass->layer].expert_bytes * pass->n;
        if (bytes > least_bytes)
            least_bytes = bytes;
    }
    return least_bytes;
}

int replay_run(const struct route_trace *trace, enum replay_policy policy, uint64_t capacity_bytes,
               struct replay *ret)
{
    _cleanup_(memory_done) struct memory memory = {.trace = trace, .policy = policy};
    struct replay replay = {0};

    if (capacity_bytes < replay_least_bytes(trace))
        return -ENOSPC;
    int r = memory_init(&memory);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < trace->n_passes; i++)
        replay_pass(&memory, i, capacity_bytes, &replay);
    *ret = replay;
    return 0;
}

const char *replay_policy_name(enum replay_policy policy)
{
    static const char *const names[REPLAY_POLICIES] = {
        [REPLAY_LRU] = "lru", [REPLAY_EXPECTED_USE] = "expected-use", [REPLAY_FUTURE] = "future"};
    return names[policy];
}
