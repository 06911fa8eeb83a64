/* Bounds the memory of work that grows with what clients send: models that are read, and plans. So
 * the daemon's memory beside the arena stays below overhead-limit.
 *
 * A use may take MEMORY_USE_FREE_BYTES at any time. For more it needs a place, of which members
 * have one and administrators have another, so that no administrator waits for a member's work;
 * others wait in the order in which they came. Who has a place takes more memory while the system
 * and this count both say that there is some. A part is kept for what else may grow, such as
 * replies, and members leave another to administrators. If there is no more because of who has the
 * other place, the use waits for him; if both wait, the member is refused. If nobody has it, the
 * use is refused after MEMORY_GATE_GRACE_USEC, because memory may just be given back. Nobody waits
 * longer than MEMORY_GATE_WAIT_USEC.
 *
 * Any thread, except that a use belongs to one thread at a time. A use may wait in its budget's
 * extend, so only workers may use the budget. */
#pragma once

#include "common/cleanup.h"
#include "common/memory_budget.h"

#include <pthread.h>
#include <sys/queue.h>

enum {
    MEMORY_USE_FREE_BYTES = 512 << 10,
    MEMORY_USE_STEP_BYTES = 1 << 20, /* what a use takes at least at a time */
    MEMORY_GATE_WAIT_USEC = 30000000,
    MEMORY_GATE_GRACE_USEC = 500000,
    MEMORY_GATE_ADMIN_PART = 32, /* of the limit: what members leave */
};

enum memory_place { PLACE_MEMBER, PLACE_ADMIN, N_PLACES };

struct memory_gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t (*measure)(void); /* the daemon's memory beside the arena */
    uint64_t limit_bytes, free_bytes;
    _Atomic uint64_t free_used_bytes; /* of free_bytes, by whom they are for; any thread sets it */
    /* Measured, without free_used_bytes, when no use had taken anything; with what was kept since.
     */
    uint64_t resting_bytes;
    uint64_t taken_bytes; /* by all uses */
    struct memory_use *inside[N_PLACES];
    TAILQ_HEAD(memory_queue, memory_use) waiting[N_PLACES];
};

struct memory_use {
    struct memory_budget budget; /* first */
    TAILQ_ENTRY(memory_use) entry;
    struct memory_gate *gate;
    enum memory_place place;
    uint64_t taken_bytes;
    bool waits_for_other, is_given_up;
};

void memory_gate_init(struct memory_gate *gate, uint64_t (*measure)(void));
/* `free_bytes` of the limit are never given out. */
void memory_gate_set_limit(struct memory_gate *gate, uint64_t limit_bytes, uint64_t free_bytes);

/* What a gate measures: VmRSS without RssShmem. UINT64_MAX if the system does not say it. */
uint64_t memory_gate_measure(void);

/* NULL when out of memory. The gate must outlive the use. */
struct memory_use *memory_use_new(struct memory_gate *gate, bool is_admin);

/* All that was taken is free again; give unused memory of the heap back to the system before. NULL
 * is ignored. Returns NULL. */
struct memory_use *memory_use_free(struct memory_use *use);
/* The same, but what was taken stays in use. */
struct memory_use *memory_use_keep(struct memory_use *use);
DEFINE_CLEANUP(struct memory_use *, memory_use_free);

/* The work stands still, maybe for ever. It keeps what it has taken, but others may have its place,
 * and it gets nothing more. */
void memory_use_give_up(struct memory_use *use);
