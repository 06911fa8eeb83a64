/* A program that copies is distinguished from one that allocates, and from one that only reads. */
#include "client/view/copy_watch.h"

#include "tests/unit/run_suite.h"

enum { MIB = 1 << 20, UNITS = 16 };

/* The fault at which it is noticed; 0: not at all. `growth` is how much memory each fault adds. */
static unsigned noticed(uint64_t first_growth, uint64_t growth)
{
    struct copy_watch watch = {0};
    uint64_t anonymous = 100 * MIB;

    for (unsigned i = 1; i <= 3 * UNITS; i++) {
        if (copy_watch_count(&watch, 4 * MIB, UNITS * 4 * MIB, anonymous))
            return i;
        anonymous += i == 1 ? first_growth : growth;
    }
    return 0;
}

START_TEST(copies)
{
    ck_assert_uint_eq(noticed(4 * MIB, 4 * MIB), UNITS / 2 + 1);
    ck_assert_uint_eq(noticed(5 * MIB, 3 * MIB), UNITS / 2 + 1); /* the kernel's count is rough */
}
END_TEST

START_TEST(does_not_copy)
{
    ck_assert_uint_eq(noticed(0, 0), 0);
    ck_assert_uint_eq(noticed(1 << 30, 0), 0); /* a cache for keys and values, say */
    ck_assert_uint_eq(noticed(0, MIB), 0);
}
END_TEST

START_TEST(once)
{
    struct copy_watch watch = {0};
    unsigned n = 0;

    for (unsigned i = 0; i < 10 * UNITS; i++)
        n += copy_watch_count(&watch, MIB, UNITS * MIB, i * MIB);
    ck_assert_uint_eq(n, 1);
}
END_TEST

/* Memory that shrinks, units of other sizes, and too few units for a decision. */
START_TEST(odd)
{
    struct copy_watch watch = {0};

    ck_assert(!copy_watch_count(&watch, 10, 100, 500));
    ck_assert(!copy_watch_count(&watch, 20, 100, 100));
    ck_assert(!copy_watch_count(&watch, 20, 100, 0));
    ck_assert_uint_eq(watch.copied_bytes, 0);
    ck_assert_uint_eq(watch.read_bytes, 30);
    watch = (struct copy_watch){0};
    for (unsigned i = 0; i < 10; i++)
        ck_assert(!copy_watch_count(&watch, 50, 100, i * 50));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("copy_watch");
    TCase *tests = tcase_create("copy_watch");

    tcase_add_test(tests, copies);
    tcase_add_test(tests, does_not_copy);
    tcase_add_test(tests, once);
    tcase_add_test(tests, odd);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
