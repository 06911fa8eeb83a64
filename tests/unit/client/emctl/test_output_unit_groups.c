/* The table of a model that is cut into units: with a line for each unit, or without. */
#include "client/emctl/output.h"
#include "common/clock.h"
#include "tests/unit/output_fixture.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <inttypes.h>

/* `ago_msec` is negative if the layer was never used. */
static void add(json_t *layers, const char *name, const char *state, int bytes, int64_t ago_msec)
{
    json_t *layer = json_pack("{s:s, s:s, s:i}", "name", name, "state", state, "bytes", bytes);
    json_int_t at_usec = (json_int_t)clock_realtime_usec() - ago_msec * 1000;

    if (ago_msec >= 0)
        json_object_set_new(layer, "usedAtUsec", json_integer(at_usec));
    ck_assert_int_eq(json_array_append_new(layers, layer), 0);
}

static char *show(json_t *layers, int expected)
{
    open_output(&output_text, 0);
    ck_assert_int_eq(output_text.list_unit_groups(&output, &subject, layers), expected);
    if (expected == 0)
        ck_assert_int_eq(output_text.list_end(&output, &subject, NULL), 0);
    json_decref(layers);
    return close_output();
}

START_TEST(test_few)
{
    json_t *layers = json_array();

    add(layers, "token_embd", "loading", 100, -1);
    add(layers, "blk.0:1", "resident", 2048, 61500);
    add(layers, "blk.0:u0", "absent", 1024, 7500);
    add(layers, "blk.0:u1", "resident", 1025, 5500);
    add(layers, "blk.0:u12", "resident", 1023, 3600500);
    json_object_set_new(json_array_get(layers, 3), "usedPercent", json_integer(7));
    json_object_set_new(json_array_get(layers, 4), "usedPercent", json_integer(100));
    add(layers, "blk.1:u0", "absent", 10, -1);
    char *text = show(layers, 0);
    ck_assert_str_eq(
        text, "LAYER      UNITS    EACH    SIZE RESIDENT IN ARENA     LAST USED  USED HOTTEST\n"
              "token_embd                 100 B                                       \n"
              "blk.0:1                  2.0 KiB      yes  2.0 KiB 1 min 1 s ago       \n"
              "blk.0          3 1.0 KiB 3.0 KiB        2  2.0 KiB       5 s ago       u12 100 %, "
              "u1 7 %, u0\n"
              "  u0                     1.0 KiB                         7 s ago       \n"
              "  u1                     1.0 KiB      yes                5 s ago   7 % \n"
              "  u12                     1023 B      yes          1 h 0 min ago 100 % \n"
              "blk.1          1    10 B    10 B        0      0 B                     \n"
              "  u0                        10 B                                       \n");
    free(text);
}
END_TEST

/* A person can read no more than a line for each layer. */
START_TEST(test_many)
{
    json_t *layers = json_array();
    char name[32];

    for (unsigned i = 0; i < 1001; i++) {
        snprintf(name, sizeof name, "blk.%u:u%u", i / 501, i % 501);
        add(layers, name, i % 2 ? "resident" : "absent", 1024,
            i % 501 == 0 ? -1 : 1000 * (int64_t)i + 500);
    }
    add(layers, "output", "absent", 9, -1);
    char *text = show(layers, 0);
    ck_assert_str_eq(
        text,
        "LAYER  UNITS    EACH      SIZE RESIDENT  IN ARENA      LAST USED USED HOTTEST\n"
        "blk.0    501 1.0 KiB 501.0 KiB      250 250.0 KiB        1 s ago      u1, u2, u3, u4\n"
        "blk.1    500 1.0 KiB 500.0 KiB      250 250.0 KiB 8 min 22 s ago      u1, u2, u3, u4\n"
        "output                     9 B                                        \n");
    free(text);
}
END_TEST

START_TEST(test_wrong_replies)
{
    json_t *layers = json_array();

    add(layers, "blk.0:u0", "absent", 1, -1);
    json_object_set_new(json_array_get(layers, 0), "usedPercent", json_integer(101));
    free(show(layers, -EBADMSG));
    layers = json_array();

    add(layers, "blk.0:u0", "absent", 1, -1);
    json_array_append_new(layers, json_pack("{s:s}", "name", "blk.0:u1"));
    free(show(layers, -EBADMSG));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("output_unit_groups");
    TCase *tcase = tcase_create("output_unit_groups");
    tcase_add_test(tcase, test_few);
    tcase_add_test(tcase, test_many);
    tcase_add_test(tcase, test_wrong_replies);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
