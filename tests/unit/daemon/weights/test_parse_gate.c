/* How many texts are parsed at a time, and in which order. */
#include "common/json.h"
#include "daemon/weights/parse_gate.h"
#include "tests/unit/run_suite.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
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

static size_t held_bytes, peak_bytes;

static size_t chunk_bytes(void *memory)
{
    return memory ? malloc_usable_size(memory) + sizeof(size_t) : 0;
}

static void *count(size_t n_bytes)
{
    void *memory = malloc(n_bytes);

    held_bytes += chunk_bytes(memory);
    peak_bytes = held_bytes > peak_bytes ? held_bytes : peak_bytes;
    return memory;
}

static void uncount(void *memory)
{
    held_bytes -= chunk_bytes(memory);
    free(memory);
}

/* `n_units` times the unit, with a number for #, in an array or object. Then as many of the longest
 * strings as fit, if `fill`. */
static char *make_text(const char *unit, unsigned n_units, bool fill, size_t *ret_bytes)
{
    bool is_object = unit[0] == '"' && strchr(unit, ':');
    char *text = malloc(DEFINITION_BYTES_MAX), *at = text;

    *at++ = is_object ? '{' : '[';
    for (unsigned i = 0; i < n_units; i++) {
        for (const char *c = unit; *c; c++)
            if (*c == '#')
                at += sprintf(at, "%u", i);
            else
                *at++ = *c;
        *at++ = ',';
    }
    while (fill && !is_object &&
           text + DEFINITION_BYTES_MAX - at > DEFINITION_STRING_BYTES_MAX + 1) {
        *at++ = '"';
        at = memset(at, 's', DEFINITION_STRING_BYTES_MAX - 2);
        at += DEFINITION_STRING_BYTES_MAX - 2;
        *at++ = '"';
        *at++ = ',';
    }
    at[-1] = is_object ? '}' : ']';
    *ret_bytes = (size_t)(at - text);
    return text;
}

static size_t parsed_bytes(const char *text, size_t n_bytes)
{
    static const struct json_limits limits = {
        .max_bytes = DEFINITION_BYTES_MAX,
        .max_depth = DEFINITION_DEPTH_MAX,
        .max_values = DEFINITION_VALUES_MAX,
        .max_string_bytes = DEFINITION_STRING_BYTES_MAX,
    };
    struct json_problem problem;
    json_t *json;

    held_bytes = peak_bytes = 0;
    json_set_alloc_funcs(count, uncount);
    int r = json_parse(text, n_bytes, &limits, &json, &problem);
    ck_assert_msg(r == 0, "%s", problem.message);
    json_decref(json);
    json_set_alloc_funcs(malloc, free);
    return peak_bytes;
}

static const struct {
    const char *unit;
    unsigned n_values; /* of it */
} units[] = {
    {"{}", 2},        {"[]", 2},
    {"0", 1},         {"\"012345678901\"", 1},
    {"\"#\":{}", 3},  {"\"#\":\"012345678\"", 2},
    {"{\"a\":0}", 4}, {"{\"tensors\":[{\"shape\":[],\"dtype\":\"i8\",\"name\":\"#\"}]}", 14},
};

/* The gate counts what jansson takes, for the largest texts and for some of the size at which its
 * tables have just grown. */
START_TEST(test_counts)
{
    enum { FILLED = 300, GROWN = (1 << 16) + 1 };
    size_t n_bytes;

    char *text = make_text(units[_i].unit, (DEFINITION_VALUES_MAX - FILLED) / units[_i].n_values,
                           true, &n_bytes);
    ck_assert_uint_le(parsed_bytes(text, n_bytes), PARSE_VALUES_BYTES_MAX);
    free(text);
    text = make_text(units[_i].unit, GROWN, false, &n_bytes);
    if (n_bytes * PARSE_BYTES_PER_BYTE < PARSE_VALUES_BYTES_MAX)
        ck_assert_uint_le(parsed_bytes(text, n_bytes), n_bytes * PARSE_BYTES_PER_BYTE);
    free(text);
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
    tcase_add_loop_test(tcase, test_counts, 0, sizeof units / sizeof units[0]);
    tcase_add_test(tcase, test_urgent);
    tcase_add_test(tcase, test_limit);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
