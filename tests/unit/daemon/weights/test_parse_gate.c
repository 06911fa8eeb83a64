/* How many texts are parsed at a time, and in which order. */
#include "daemon/weights/parse_gate.h"
#include "tests/unit/run_suite.h"

#include <stdatomic.h>
#include <unistd.h>

enum { MIB = 1 << 20, N_THREADS = 4 };

static struct parse_gate gate;
static atomic_int n_inside, most_inside, n_entered;
static atomic_bool first_is_urgent;

struct visitor {
    pthread_t thread;
    uint64_t text_bytes;
    bool is_urgent;
};

static void *visit(void *context)
{
    const struct visitor *visitor = context;

    uint64_t n_bytes = parse_gate_enter(&gate, visitor->text_bytes, visitor->is_urgent);
    if (atomic_fetch_add(&n_entered, 1) == 0)
        first_is_urgent = visitor->is_urgent;
    int n = atomic_fetch_add(&n_inside, 1) + 1;
    for (int most = most_inside; most < n && !atomic_compare_exchange_weak(&most_inside, &most, n);)
        ;
    usleep(10000);
    atomic_fetch_sub(&n_inside, 1);
    parse_gate_leave(&gate, n_bytes);
    return NULL;
}

static void setup(void)
{
    parse_gate_init(&gate, 32 * MIB);
    n_entered = most_inside = 0;
}

/* A large text is parsed alone, whatever the limit is. */
START_TEST(test_large)
{
    struct visitor visitors[N_THREADS];

    for (int i = 0; i < N_THREADS; i++) {
        visitors[i] = (struct visitor){.text_bytes = 3 * MIB};
        ck_assert_int_eq(pthread_create(&visitors[i].thread, NULL, visit, &visitors[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(visitors[i].thread, NULL);
    ck_assert_int_eq(n_entered, N_THREADS);
    ck_assert_int_eq(most_inside, 1);
    ck_assert_uint_eq(gate.used_bytes, 0);
}
END_TEST

START_TEST(test_small)
{
    uint64_t first = parse_gate_enter(&gate, 1000, false);
    uint64_t second = parse_gate_enter(&gate, 1000, false);

    ck_assert_uint_eq(first, 1000 * PARSE_BYTES_PER_BYTE);
    ck_assert_uint_eq(gate.used_bytes, first + second);
    parse_gate_leave(&gate, first);
    parse_gate_leave(&gate, second);
    ck_assert_uint_eq(parse_gate_enter(NULL, 1000, false), 0);
    parse_gate_leave(NULL, 0);
}
END_TEST

/* Of two that wait, an administrator's goes first. */
START_TEST(test_urgent)
{
    struct visitor member = {.text_bytes = 3 * MIB};
    struct visitor urgent = {.text_bytes = 3 * MIB, .is_urgent = true};

    uint64_t n_bytes = parse_gate_enter(&gate, 3 * MIB, false);
    ck_assert_int_eq(pthread_create(&member.thread, NULL, visit, &member), 0);
    ck_assert_int_eq(pthread_create(&urgent.thread, NULL, visit, &urgent), 0);
    for (bool waits = false; !waits; usleep(100)) {
        pthread_mutex_lock(&gate.mutex);
        waits = gate.n_urgent == 1;
        pthread_mutex_unlock(&gate.mutex);
    }
    ck_assert_int_eq(n_entered, 0);
    parse_gate_leave(&gate, n_bytes);
    pthread_join(member.thread, NULL);
    pthread_join(urgent.thread, NULL);
    ck_assert(first_is_urgent);
    ck_assert_uint_eq(gate.used_bytes, 0);
}
END_TEST

/* A higher limit admits waiting texts. */
START_TEST(test_limit)
{
    struct visitor visitor = {.text_bytes = 3 * MIB};

    uint64_t n_bytes = parse_gate_enter(&gate, 3 * MIB, false);
    ck_assert_int_eq(pthread_create(&visitor.thread, NULL, visit, &visitor), 0);
    parse_gate_set_limit(&gate, 1 << 30);
    pthread_join(visitor.thread, NULL);
    parse_gate_leave(&gate, n_bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("parse_gate");
    TCase *tcase = tcase_create("parse_gate");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, test_large);
    tcase_add_test(tcase, test_small);
    tcase_add_test(tcase, test_urgent);
    tcase_add_test(tcase, test_limit);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
