/* Who may take how much memory, and who waits for whom. */
#include "daemon/system/memory_gate.h"
#include "tests/unit/run_suite.h"

#include <stdatomic.h>
#include <unistd.h>

enum { MIB = 1 << 20, LIMIT = 64 * MIB, FREE = 10 * MIB, RESTING = 4 * MIB };
/* What a use may take beside a resting daemon. */
enum { MEMBER = 52 * MIB - RESTING, ADMIN = 54 * MIB - RESTING };

static struct memory_gate gate;
static _Atomic uint64_t measured;

static uint64_t measure(void)
{
    return measured;
}

static void setup(void)
{
    memory_gate_init(&gate, measure);
    memory_gate_set_limit(&gate, LIMIT, FREE);
    measured = RESTING;
}

static bool extend(struct memory_use *use, uint64_t n_bytes)
{
    return use->budget.extend(&use->budget, n_bytes);
}

struct visitor {
    pthread_t thread;
    struct memory_use *use;
    uint64_t n_bytes;
    bool may;
    atomic_bool is_over;
};

static void *visit(void *context)
{
    struct visitor *visitor = context;

    visitor->may = extend(visitor->use, visitor->n_bytes);
    visitor->is_over = true;
    return NULL;
}

static void begin(struct visitor *visitor, struct memory_use *use, uint64_t n_bytes)
{
    *visitor = (struct visitor){.use = use, .n_bytes = n_bytes};
    ck_assert_int_eq(pthread_create(&visitor->thread, NULL, visit, visitor), 0);
}

static bool end(struct visitor *visitor)
{
    pthread_join(visitor->thread, NULL);
    return visitor->may;
}

/* Until `n` wait for the place. */
static void await_queue(enum memory_place place, unsigned n)
{
    for (unsigned found = n + 1; found != n; usleep(100)) {
        const struct memory_use *use;
        found = 0;
        pthread_mutex_lock(&gate.mutex);
        TAILQ_FOREACH (use, &gate.waiting[place], entry)
            found++;
        pthread_mutex_unlock(&gate.mutex);
    }
}

static void await_other(const struct memory_use *use)
{
    for (bool waits = false; !waits; usleep(100)) {
        pthread_mutex_lock(&gate.mutex);
        waits = use->waits_for_other;
        pthread_mutex_unlock(&gate.mutex);
    }
}

START_TEST(little_is_free)
{
    struct memory_use *large = memory_use_new(&gate, false), *small = memory_use_new(&gate, false);

    ck_assert(extend(large, MEMBER));
    memory_budget_use(&small->budget);
    ck_assert(memory_budget_take(MEMORY_USE_FREE_BYTES));
    memory_budget_give(MEMORY_USE_FREE_BYTES);
    void *memory = memory_budget_calloc(MEMORY_USE_FREE_BYTES / 4, 4);
    ck_assert_ptr_nonnull(memory);
    ck_assert_ptr_null(memory_budget_calloc(SIZE_MAX / 2, 4));
    free(memory);
    memory_budget_use(NULL);
    ck_assert(memory_budget_take(UINT64_MAX));
    ck_assert(!small->budget.is_exceeded);
    ck_assert_uint_eq(gate.taken_bytes, MEMBER);
    memory_use_free(small);
    memory_use_free(large);
    ck_assert_uint_eq(gate.taken_bytes, 0);
}
END_TEST

/* Each tier has its part, by the count and by the system's figure. */
START_TEST(limits)
{
    bool is_admin = _i == 1;
    uint64_t most = is_admin ? ADMIN : MEMBER;
    struct memory_use *use = memory_use_new(&gate, is_admin);

    memory_budget_use(&use->budget);
    ck_assert(!memory_budget_take(most + MEMORY_USE_FREE_BYTES + 1));
    ck_assert(use->budget.is_exceeded);
    ck_assert(memory_budget_take(most + MEMORY_USE_FREE_BYTES));
    ck_assert(!memory_budget_take(1));
    memory_budget_use(NULL);
    memory_use_free(use);

    use = memory_use_new(&gate, is_admin);
    ck_assert(extend(use, 1)); /* takes a whole step */
    measured = RESTING + most;
    ck_assert(!extend(use, 1));
    measured = RESTING + most - MEMORY_USE_STEP_BYTES;
    ck_assert(extend(use, 1));
    ck_assert_uint_eq(gate.taken_bytes, 2 * MEMORY_USE_STEP_BYTES);
    memory_use_free(use);

    use = memory_use_new(&gate, is_admin);
    measured = UINT64_MAX;
    ck_assert(!extend(use, 1));
    measured = RESTING;
    ck_assert(!extend(use, UINT64_MAX));
    memory_gate_set_limit(&gate, 2 * LIMIT, FREE);
    ck_assert(extend(use, most + 1));
    memory_use_free(use);
}
END_TEST

/* What is kept for replies is left free once, and not again beside the replies that are there. More
 * of them than were ever allowed make no room. */
START_TEST(replies)
{
    struct memory_use *use = memory_use_new(&gate, false);

    measured = RESTING + FREE;
    gate.free_used_bytes = FREE;
    ck_assert(extend(use, MEMBER));
    memory_use_free(use);

    use = memory_use_new(&gate, false);
    gate.free_used_bytes = FREE / 2;
    ck_assert(!extend(use, MEMBER));
    ck_assert(extend(use, MEMBER - FREE / 2));
    memory_use_free(use);

    use = memory_use_new(&gate, false);
    gate.free_used_bytes = 2 * FREE;
    measured = RESTING + 2 * FREE;
    ck_assert(!extend(use, MEMBER));
    ck_assert(extend(use, MEMBER - FREE));
    measured = FREE;
    gate.free_used_bytes = UINT64_MAX;
    ck_assert(!extend(use, MEMBER + RESTING - (MEMBER - FREE) + 1));
    memory_use_free(use);
}
END_TEST

/* Members follow each other in the order of their coming; an administrator need not wait. */
START_TEST(places)
{
    struct memory_use *uses[3], *admin = memory_use_new(&gate, true);
    struct visitor visitors[3];

    for (unsigned i = 0; i < 3; i++)
        uses[i] = memory_use_new(&gate, false);
    ck_assert(extend(uses[0], MIB));
    begin(&visitors[1], uses[1], MIB);
    await_queue(PLACE_MEMBER, 1);
    begin(&visitors[2], uses[2], MIB);
    await_queue(PLACE_MEMBER, 2);
    ck_assert(extend(admin, MIB));
    ck_assert(extend(uses[0], MIB)); /* who is inside may go on */
    ck_assert(!visitors[1].is_over);
    memory_use_free(uses[0]);
    ck_assert(end(&visitors[1]));
    ck_assert(!visitors[2].is_over);
    ck_assert_ptr_eq(gate.inside[PLACE_MEMBER], uses[1]);
    memory_use_free(uses[1]);
    ck_assert(end(&visitors[2]));
    memory_use_free(uses[2]);
    memory_use_free(admin);
    ck_assert_uint_eq(gate.taken_bytes, 0);
}
END_TEST

/* Each waits for memory that the other one has, as long as the other one goes on. */
START_TEST(waits_for_the_other)
{
    bool is_admin = _i == 1;
    struct memory_use *first = memory_use_new(&gate, !is_admin);
    struct memory_use *second = memory_use_new(&gate, is_admin);
    struct visitor visitor;

    ck_assert(extend(first, MEMBER));
    begin(&visitor, second, MEMBER);
    await_other(second);
    ck_assert(!visitor.is_over);
    memory_use_free(first);
    ck_assert(end(&visitor));
    memory_use_free(second);
}
END_TEST

/* So that not both wait for ever. */
START_TEST(member_gives_way)
{
    struct memory_use *member = memory_use_new(&gate, false), *admin = memory_use_new(&gate, true);
    struct visitor waiting, refused;
    bool member_first = _i == 1;

    ck_assert(extend(member, MEMBER / 2));
    ck_assert(extend(admin, MEMBER / 4));
    if (member_first) {
        begin(&refused, member, MEMBER);
        await_other(member);
    }
    begin(&waiting, admin, MEMBER / 2);
    if (!member_first) {
        await_other(admin);
        begin(&refused, member, MEMBER);
    }
    ck_assert(!end(&refused));
    ck_assert(!waiting.is_over);
    memory_use_free(member);
    ck_assert(end(&waiting));
    memory_use_free(admin);
}
END_TEST

/* Who stands still loses the place, but what he has taken counts. */
START_TEST(given_up)
{
    struct memory_use *hung = memory_use_new(&gate, false), *next = memory_use_new(&gate, false);
    struct visitor visitor;

    ck_assert(extend(hung, MEMBER / 2));
    begin(&visitor, next, MEMBER / 2);
    await_queue(PLACE_MEMBER, 1);
    memory_use_give_up(hung);
    ck_assert(end(&visitor));
    ck_assert(!extend(hung, 1));
    ck_assert(!extend(next, 1));
    memory_use_free(hung);
    ck_assert(extend(next, MEMBER / 2));
    memory_use_free(next);
    ck_assert_uint_eq(gate.taken_bytes, 0);
}
END_TEST

/* Who waits for the place may be given up, too, and does not get it any more. */
START_TEST(given_up_while_it_waits)
{
    struct memory_use *first = memory_use_new(&gate, false), *hung = memory_use_new(&gate, false);
    struct memory_use *next = memory_use_new(&gate, false);
    struct visitor visitor;

    ck_assert(extend(first, MIB));
    begin(&visitor, hung, MIB);
    await_queue(PLACE_MEMBER, 1);
    memory_use_give_up(hung);
    ck_assert(!end(&visitor));
    memory_use_free(first);
    ck_assert_ptr_null(gate.inside[PLACE_MEMBER]);
    ck_assert(extend(next, MIB));
    memory_use_free(next);
    memory_use_free(hung);
    ck_assert_uint_eq(gate.taken_bytes, 0);
}
END_TEST

/* What was kept counts, too, also before the system counts it. */
START_TEST(kept)
{
    struct memory_use *member = memory_use_new(&gate, false), *admin = memory_use_new(&gate, true);

    ck_assert(extend(admin, MEMBER / 2));
    ck_assert(extend(member, MIB));
    memory_use_keep(admin);
    ck_assert_uint_eq(gate.taken_bytes, MIB);
    measured = RESTING + MEMBER / 2;
    ck_assert(!extend(member, MEMBER / 2));
    ck_assert(extend(member, MEMBER / 2 - MIB));
    memory_use_free(member);
    ck_assert_ptr_null(memory_use_free(NULL));
    ck_assert_ptr_null(memory_use_keep(NULL));
}
END_TEST

/* Memory that is just given back is waited for. */
START_TEST(grace)
{
    struct memory_use *use = memory_use_new(&gate, false);
    struct visitor visitor;

    measured = RESTING + MIB;
    begin(&visitor, use, MEMBER);
    for (bool is_inside = false; !is_inside; usleep(100)) {
        pthread_mutex_lock(&gate.mutex);
        is_inside = gate.inside[PLACE_MEMBER] == use;
        pthread_mutex_unlock(&gate.mutex);
    }
    measured = RESTING;
    ck_assert(end(&visitor));
    memory_use_free(use);
}
END_TEST

START_TEST(measures)
{
    uint64_t before = memory_gate_measure();
    size_t n_bytes = 32 * MIB;
    char *memory = malloc(n_bytes);

    for (size_t i = 0; i < n_bytes; i += 4096)
        ((volatile char *)memory)[i] = 1;
    ck_assert_uint_gt(memory_gate_measure(), before + n_bytes / 2);
    free(memory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory_gate");
    TCase *tcase = tcase_create("memory_gate");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, little_is_free);
    tcase_add_test(tcase, replies);
    tcase_add_loop_test(tcase, limits, 0, 2);
    tcase_add_test(tcase, places);
    tcase_add_loop_test(tcase, waits_for_the_other, 0, 2);
    tcase_add_loop_test(tcase, member_gives_way, 0, 2);
    tcase_add_test(tcase, given_up);
    tcase_add_test(tcase, given_up_while_it_waits);
    tcase_add_test(tcase, kept);
    tcase_add_test(tcase, grace);
    tcase_add_test(tcase, measures);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
