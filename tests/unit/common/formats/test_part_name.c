/* The names of files that are parts. */
#include "common/formats/part_name.h"
#include "tests/unit/run_suite.h"

#include <check.h>

static const struct {
    const char *base, *extension;
    bool is_part;
    struct part_name name;
} names[] = {
    {"x-00001-of-00003.gguf", ".gguf", true, {1, 1, 3}},
    {"a-b-00003-of-00003.gguf", ".gguf", true, {3, 3, 3}},
    {"model-00002-of-99999.safetensors", ".safetensors", true, {5, 2, 99999}},
    {"x-00001-of-00001.gguf", ".gguf", true, {1, 1, 1}},
    {"x-00001-of-00003.gguf", ".safetensors", false, {0}},
    {"-00001-of-00003.gguf", ".gguf", false, {0}},
    {"x-00004-of-00003.gguf", ".gguf", false, {0}},
    {"x-00000-of-00003.gguf", ".gguf", false, {0}},
    {"x-00001-of-00000.gguf", ".gguf", false, {0}},
    {"x-0001-of-00003.gguf", ".gguf", false, {0}},
    {"x-00001-of-0000x.gguf", ".gguf", false, {0}},
    {"x-000001-of-00003.gguf", ".gguf", false, {0}},
    {"x_00001-of-00003.gguf", ".gguf", false, {0}},
    {"x.gguf", ".gguf", false, {0}},
    {"", ".gguf", false, {0}},
};

START_TEST(names_of_parts)
{
    struct part_name name = {9, 9, 9};

    ck_assert_int_eq(part_name_parse(names[_i].base, names[_i].extension, &name),
                     names[_i].is_part);
    ck_assert_uint_eq(name.n_stem, names[_i].is_part ? names[_i].name.n_stem : 9);
    ck_assert_uint_eq(name.part, names[_i].is_part ? names[_i].name.part : 9);
    ck_assert_uint_eq(name.n_parts, names[_i].is_part ? names[_i].name.n_parts : 9);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("part_name");
    TCase *tests = tcase_create("part_name");

    tcase_add_loop_test(tests, names_of_parts, 0, (int)(sizeof names / sizeof *names));
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
