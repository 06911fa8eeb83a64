/* Every element type, its spelling and its size. */
#include "common/definition/dtype.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* The size of 24 elements. */
static const struct {
    const char *name;
    uint64_t bytes;
} types[] = {
    {"F64", 192},    {"F32", 96},     {"F16", 48},     {"BF16", 48},        {"I64", 192},
    {"I32", 96},     {"I16", 48},     {"I8", 24},      {"U64", 192},        {"U32", 96},
    {"U16", 48},     {"U8", 24},      {"BOOL", 24},    {"C64", 192},        {"F8_E4M3", 24},
    {"F8_E5M2", 24}, {"F8_E8M0", 24}, {"F6_E2M3", 18}, {"F8_E4M3FNUZ", 24}, {"F8_E5M2FNUZ", 24},
    {"F6_E3M2", 18}, {"F4", 12},
};

static dtype parse(const char *name)
{
    dtype type;

    ck_assert_msg(dtype_parse(name, &type) == 0, "%s", name);
    return type;
}

START_TEST(name_and_size)
{
    char lower[32];
    uint64_t bytes;
    size_t n = strlen(types[_i].name);

    for (size_t i = 0; i <= n; i++)
        lower[i] = (char)tolower((unsigned char)types[_i].name[i]);
    dtype type = parse(types[_i].name);
    ck_assert_uint_eq(parse(lower), type);
    ck_assert_str_eq(dtype_name(type), types[_i].name);
    ck_assert_int_eq(dtype_bytes(type, 24, &bytes), 0);
    ck_assert_uint_eq(bytes, types[_i].bytes);
    ck_assert_int_eq(dtype_bytes(type, 0, &bytes), 0);
    ck_assert_uint_eq(bytes, 0);
}
END_TEST

START_TEST(unknown_names)
{
    static const char *const names[] = {"",   "F",    "F3",   "F322", "float32", "F8",
                                        "F6", " F32", "F32 ", "int8", "F8-E4M3"};
    dtype type = 77;

    for (int i = 0; i < COUNT(names); i++)
        ck_assert_msg(dtype_parse(names[i], &type) == -ENOENT, "%s", names[i]);
    ck_assert_uint_eq(type, 77);
}
END_TEST

START_TEST(part_of_a_byte)
{
    static const struct {
        const char *name;
        uint64_t n_elements;
        int r;
        uint64_t bytes;
    } cases[] = {
        {"F4", 1, -EINVAL, 0},      {"F4", 2, 0, 1},      {"F4", 3, -EINVAL, 0},
        {"F6_E2M3", 1, -EINVAL, 0}, {"F6_E2M3", 4, 0, 3}, {"F6_E2M3", 6, -EINVAL, 0},
        {"F6_E3M2", 2, -EINVAL, 0}, {"F6_E3M2", 8, 0, 6}, {"F4", UINT64_MAX, -EINVAL, 0},
        {"F8_E8M0", 1, 0, 1},
    };

    for (int i = 0; i < COUNT(cases); i++) {
        uint64_t bytes = 0;
        ck_assert_int_eq(dtype_bytes(parse(cases[i].name), cases[i].n_elements, &bytes),
                         cases[i].r);
        ck_assert_uint_eq(bytes, cases[i].bytes);
    }
}
END_TEST

START_TEST(overflow)
{
    uint64_t bytes = 77;

    ck_assert_int_eq(dtype_bytes(parse("F32"), UINT64_C(1) << 62, &bytes), -EOVERFLOW);
    ck_assert_int_eq(dtype_bytes(parse("F16"), UINT64_C(1) << 63, &bytes), -EOVERFLOW);
    ck_assert_int_eq(dtype_bytes(parse("F64"), UINT64_MAX, &bytes), -EOVERFLOW);
    ck_assert_uint_eq(bytes, 77);
    ck_assert_int_eq(dtype_bytes(parse("F32"), (UINT64_C(1) << 62) - 1, &bytes), 0);
    ck_assert_uint_eq(bytes, UINT64_MAX - 3);
    ck_assert_int_eq(dtype_bytes(parse("U8"), UINT64_MAX, &bytes), 0);
    ck_assert_uint_eq(bytes, UINT64_MAX);
    ck_assert_int_eq(dtype_bytes(parse("F4"), UINT64_MAX - 1, &bytes), 0);
    ck_assert_uint_eq(bytes, UINT64_MAX / 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dtype");
    TCase *tests = tcase_create("dtype");

    tcase_add_loop_test(tests, name_and_size, 0, COUNT(types));
    tcase_add_test(tests, unknown_names);
    tcase_add_test(tests, part_of_a_byte);
    tcase_add_test(tests, overflow);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
