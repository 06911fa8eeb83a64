/* Definitions that are bound to weight files: the order is that of the definition, the places are
 * those of the files. */
#include "common/definition/definition_parse.h"
#include "common/formats/weights.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/weights_fixture.h"

static void parse(const char *text)
{
    definition_unref(definition);
    definition = NULL;
    int r = definition_parse(text, strlen(text), &definition, &problem);
    ck_assert_msg(r == 0, "%s: %s", problem.path, problem.message);
}

static void refuse(const char *path, const char *message)
{
    problem = (struct definition_problem){.line = 77};
    ck_assert_int_eq(weights_bind(definition, files, n_files, &problem), -EBADMSG);
    ck_assert_str_eq(problem.path, path);
    ck_assert_str_eq(problem.message, message);
    ck_assert_uint_eq(problem.line, 0);
}

START_TEST(binds)
{
    add_file("w 10 z 6 x.weight 100 tied 32 gap 5 x.bias 10");
    add_file("y 4096");
    parse("{\"name\":\"m\",\"weights\":\"f\",\"dtype\":\"u8\",\"layers\":["
          "{\"name\":\"x\",\"type\":\"linear\",\"in_features\":10,\"out_features\":10},"
          "{\"name\":\"l\",\"tensors\":[{\"name\":\"y\",\"shape\":[4096]},"
          "{\"name\":\"tied\",\"shape\":[32]},{\"name\":\"w\",\"shape\":[10]}]},"
          "{\"name\":\"k\",\"tensors\":[{\"name\":\"tied\",\"shape\":[32]}]}]}");
    /* x.weight is a row of 100 in the file. */
    refuse("layers[0].tensors[0]", "is U8 [10, 10], but U8 [100] in the weights");

    parse("{\"name\":\"m\",\"weights\":\"f\",\"dtype\":\"u8\",\"layers\":["
          "{\"name\":\"l\",\"tensors\":[{\"name\":\"y\",\"shape\":[4096]},"
          "{\"name\":\"tied\",\"shape\":[32]},{\"name\":\"w\",\"shape\":[10]},"
          "{\"name\":\"z\",\"shape\":[6]}]},"
          "{\"name\":\"k\",\"tensors\":[{\"name\":\"tied\",\"shape\":[32]}]}]}");
    ck_assert_int_eq(weights_bind(definition, files, 2, &problem), 0);
    check_definition();
    const struct layer_definition *layer = &definition->layers[0];
    /* The order is that of the definition, the places are those of the files. */
    const uint64_t page = piece_align_bytes(), offsets[] = {2 * page, page + 116, 0, 10};
    ck_assert_uint_eq(layer->n_pieces, 3);
    for (int i = 0; i < COUNT(offsets); i++)
        ck_assert_uint_eq(layer->tensors[i].offset_bytes, offsets[i]);
    ck_assert_str_eq(layer->tensors[0].name, "y");
    ck_assert_uint_eq(layer->bytes, 2 * page + 4096);
    ck_assert_uint_eq(definition->layers[1].shift_bytes, (4096 + 116) % page);
    ck_assert_uint_eq(definition->bytes, layer->bytes + 32);
}
END_TEST

START_TEST(does_not_bind)
{
    static const struct {
        const char *layers, *path, *message;
    } cases[] = {
        {"{\"tensors\":[{\"name\":\"w\",\"shape\":[10]},{\"name\":\"v\",\"shape\":[1]}]}",
         "layers[0].tensors[1]", "no weight file has this tensor"},
        {"{\"tensors\":[{\"name\":\"w\",\"shape\":[10],\"dtype\":\"i8\"}]}", "layers[0].tensors[0]",
         "is I8 [10], but U8 [10] in the weights"},
        {"{\"tensors\":[{\"name\":\"w\",\"shape\":[10,1]}]}", "layers[0].tensors[0]",
         "is U8 [10, 1], but U8 [10] in the weights"},
        {"{\"tensors\":[{\"name\":\"w\",\"shape\":[9]}]}", "layers[0].tensors[0]",
         "is U8 [9], but U8 [10] in the weights"},
        {"{\"tensors\":[{\"name\":\"w\",\"shape\":[10]}]},{\"bytes\":5}", "layers[1]",
         "has no tensors, but the model has weights"},
        {"{\"type\":\"linear\",\"in_features\":3,\"out_features\":1,\"bias\":false}",
         "layers[0].tensors[0]", "no weight file has this tensor"},
    };

    add_file("w 10");
    for (int i = 0; i < COUNT(cases); i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"name\":\"m\",\"weights\":\"f\",\"dtype\":\"u8\",\"layers\":[%s]}",
                 cases[i].layers);
        parse(text);
        refuse(cases[i].path, cases[i].message);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weights_bind");
    TCase *tests = tcase_create("weights_bind");
    tcase_add_checked_fixture(tests, NULL, begin);
    tcase_add_test(tests, binds);
    tcase_add_test(tests, does_not_bind);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
