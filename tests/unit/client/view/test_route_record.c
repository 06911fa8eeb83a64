/* The text that a program's uses make. */
#include "client/view/route_record.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/scratch.h"

enum { PAGE = 4096 };

static const char *const names[] = {"token_embd:u0", "token_embd:u1", "output",  "blk.0:u0",
                                    "blk.0:u1",      "blk.0:u2",      "blk.0:1", "blk.1:u0",
                                    "blk.1:u1",      "norm"};
static const uint32_t n_pages[] = {4, 2, 1, 8, 8, 8, 16, 9, 9, 32};
enum { UNITS = sizeof names / sizeof *names };

static struct unit_table table;
static char path[128];

static void setup(void)
{
    clear_scratch();
    unit_table_init(&table, PAGE, 0, 100 * PAGE);
    for (uint32_t i = 0, at = 0; i < UNITS; at += n_pages[i++])
        ck_assert_int_eq(unit_table_add(&table, names[i], i, at * PAGE, n_pages[i] * PAGE), 0);
    ck_assert_int_eq(unit_table_seal(&table), 0);
    snprintf(path, sizeof path, "%s/route.csv", scratch);
}

static void teardown(void)
{
    unit_table_done(&table);
}

static void check_file(const char *expected)
{
    char text[4096];
    FILE *file = fopen(path, "r");

    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    ck_assert_str_eq(text, expected);
}

START_TEST(steps)
{
    static const uint32_t uses[] = {1, 2, 5, 3, 6, 8, 9, 0, 4, 3, 7, 8, 0};
    _cleanup_(route_record_freep) struct route_record *record = route_record_new(path, &table);

    ck_assert_ptr_nonnull(record);
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        route_record_use(record, uses[i]);
    check_file("# route_trace v1\n"
               "# layer=0 expert_bytes=16384 dense_bytes=4096\n"
               "# layer=1 expert_bytes=32768 dense_bytes=65536\n"
               "# layer=2 expert_bytes=36864 dense_bytes=131072\n"
               "turn,phase,step,layer,slot,expert\n"
               "0,1,0,0,0,1\n0,1,0,1,0,2\n0,1,0,1,1,0\n0,1,0,2,0,1\n"
               "0,1,1,0,0,0\n0,1,1,1,0,1\n0,1,1,1,1,0\n0,1,1,2,0,0\n0,1,1,2,1,1\n"
               "0,1,2,0,0,0\n");
}
END_TEST

/* A file that cannot be written changes nothing for the program. */
START_TEST(no_file)
{
    _cleanup_(route_record_freep) struct route_record *record =
        route_record_new("/nonexistent/route.csv", &table);

    ck_assert_ptr_nonnull(record);
    route_record_use(record, 0);
    route_record_use(record, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("route_record");
    TCase *tests = tcase_create("route_record");

    tcase_add_unchecked_fixture(tests, make_scratch, remove_scratch);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, steps);
    tcase_add_test(tests, no_file);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
