/* Names that a safetensors file gives in its __metadata__ to tensors that it keeps under another.
 */
#include "common/definition/definition_parse.h"
#include "common/formats/weights.h"
#include "tests/unit/weight_bytes.h"

#include <stdio.h>

/* Tensors U8: a.0.w of 4 bytes, b.w of 8 that follow, and e without any. */
static const char tensors[] = "\"a.0.w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                              "\"b.w\":{\"dtype\":\"U8\",\"shape\":[2,4],\"data_offsets\":[4,12]},"
                              "\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[12,12]}";
static const char other_tensors[] =
    "\"c.w\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]}";

static struct tensor_file *make(const char *metadata, const char *members, uint64_t n_data)
{
    char *header = NULL;
    ck_assert_int_gt(asprintf(&header, "{\"__metadata__\":{%s},%s}", metadata, members), 0);
    struct bytes bytes = safetensors_bytes(header, n_data);
    struct definition_problem problem;
    struct tensor_file *file = NULL;
    int r = bytes_parse(&bytes, &file, &problem);
    ck_assert_msg(r == 0, "%s: %s", problem.path, problem.message);
    free(bytes.at);
    free(header);
    return file;
}

/* "layer bytes: tensor@offset+bytes ...; ..." */
static void describe(const struct definition *definition, char *text)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < definition->n_layers; i++) {
        const struct layer_definition *layer = &definition->layers[i];
        text += sprintf(text, "%s%s %" PRIu64 ":", i > 0 ? "; " : "", layer->name, layer->bytes);
        for (uint32_t j = 0; j < layer->n_tensors; j++)
            text += sprintf(text, " %s@%" PRIu64 "+%" PRIu64, layer->tensors[j].name,
                            layer->tensors[j].offset_bytes, layer->tensors[j].bytes);
        ck_assert_uint_eq(layer->n_pieces, 1);
        ck_assert_uint_eq(layer->pieces[0].bytes, layer->bytes);
        bytes += layer->bytes;
    }
    ck_assert_uint_eq(bytes, definition->bytes);
}

static const struct {
    const char *metadata, *other_metadata; /* NULL: one file */
    const char *layers;
} groups[] = {
    {"\"format\":\"pt\"", NULL, "a.0 4: a.0.w@0+4; b 8: b.w@0+8 e@8+0"},
    {"\"z.w\":\"b.w\",\"a.0.v\":\"b.w\"", NULL,
     "a.0 4: a.0.w@0+4; b 8: b.w@0+8 a.0.v@0+8 z.w@0+8 e@8+0"},
    {"\"head\":\"a.0.w\",\"f\":\"e\"", NULL, "a.0 4: a.0.w@0+4 head@0+4; b 8: b.w@0+8 e@8+0 f@8+0"},
    /* An alias twice, of itself, with the name of a tensor, of no tensor, and of another alias. */
    {"\"h\":\"b.w\",\"h\":\"b.w\"", NULL, "a.0 4: a.0.w@0+4; b 8: b.w@0+8 h@0+8 e@8+0"},
    {"\"b.w\":\"b.w\",\"a.0.w\":\"b.w\",\"h\":\"c.w\"", NULL,
     "a.0 4: a.0.w@0+4; b 8: b.w@0+8 e@8+0"},
    {"\"h\":\"b.w\",\"g\":\"h\"", NULL, "a.0 4: a.0.w@0+4; b 8: b.w@0+8 h@0+8 e@8+0"},
    /* Names that no tensor can have. */
    {"\"\":\"b.w\",\"a\\nb\":\"b.w\",\"h\":\"\"", NULL, "a.0 4: a.0.w@0+4; b 8: b.w@0+8 e@8+0"},
    /* Of a tensor in the other file; both files may have the alias. */
    {"\"h\":\"c.w\"", "", "a.0 4: a.0.w@0+4; b 8: b.w@0+8; c 5: e@0+0 c.w@0+5 h@0+5"},
    {"\"h\":\"c.w\",\"c.w\":\"b.w\"", "\"h\":\"c.w\",\"g\":\"b.w\"",
     "a.0 4: a.0.w@0+4; b 8: b.w@0+8 g@0+8; c 5: e@0+0 c.w@0+5 h@0+5"},
};

START_TEST(grouped)
{
    struct tensor_file *files[2] = {make(groups[_i].metadata, tensors, 12), NULL};
    uint32_t n_files = groups[_i].other_metadata ? 2 : 1;
    struct definition_problem problem;
    struct definition *definition = NULL;
    char text[1024] = "";

    if (n_files == 2)
        files[1] = make(groups[_i].other_metadata, other_tensors, 5);
    int r = weights_group("m", files, n_files, 0, &definition, &problem);
    ck_assert_msg(r == 0, "%s: %s", problem.path, problem.message);
    describe(definition, text);
    ck_assert_str_eq(text, groups[_i].layers);
    definition_unref(definition);
    tensor_file_free(files[0]);
    tensor_file_free(files[1]);
}
END_TEST

START_TEST(of_two_tensors)
{
    struct tensor_file *files[] = {make("\"h\":\"b.w\"", tensors, 12),
                                   make("\"h\":\"c.w\"", other_tensors, 5)};
    struct definition_problem problem;
    struct definition *definition = NULL;

    ck_assert_int_eq(weights_group("m", files, 2, 0, &definition, &problem), -EBADMSG);
    ck_assert_str_eq(problem.path, "h");
    ck_assert_str_eq(problem.message, "the metadata give this name to both \"b.w\" and \"c.w\"");
    ck_assert_ptr_null(definition);
    tensor_file_free(files[0]);
    tensor_file_free(files[1]);
}
END_TEST

START_TEST(bound)
{
    static const struct {
        const char *layers, *description; /* NULL: refused */
    } cases[] = {
        {"{\"name\":\"x\",\"tensors\":[{\"name\":\"h\",\"shape\":[2,4]}]}", "x 8: h@0+8"},
        {"{\"name\":\"x\",\"tensors\":[{\"name\":\"h\",\"shape\":[2,4]},"
         "{\"name\":\"a.0.w\",\"shape\":[4]},{\"name\":\"b.w\",\"shape\":[2,4]}]}",
         "x 12: h@4+8 a.0.w@0+4 b.w@4+8"},
        /* Each layer has its own copy, which a definition may also request with one name. */
        {"{\"name\":\"x\",\"tensors\":[{\"name\":\"b.w\",\"shape\":[2,4]}]},"
         "{\"name\":\"y\",\"tensors\":[{\"name\":\"h\",\"shape\":[2,4]}]}",
         "x 8: b.w@0+8; y 8: h@0+8"},
        {"{\"name\":\"x\",\"tensors\":[{\"name\":\"h\",\"shape\":[8]}]}", NULL},
        {"{\"name\":\"x\",\"tensors\":[{\"name\":\"g\",\"shape\":[2,4]}]}", NULL},
    };
    struct tensor_file *file = make("\"h\":\"b.w\",\"g\":\"h\"", tensors, 12);
    struct definition_problem problem;

    for (int i = 0; i < COUNT(cases); i++) {
        struct definition *definition = NULL;
        char *json = NULL, text[512] = "";
        ck_assert_int_gt(asprintf(&json,
                                  "{\"name\":\"m\",\"weights\":\"f\",\"dtype\":\"u8\","
                                  "\"layers\":[%s]}",
                                  cases[i].layers),
                         0);
        ck_assert_int_eq(definition_parse(json, strlen(json), &definition, &problem), 0);
        int r = weights_bind(definition, &file, 1, &problem);
        ck_assert_int_eq(r, cases[i].description ? 0 : -EBADMSG);
        if (r == 0) {
            describe(definition, text);
            ck_assert_str_eq(text, cases[i].description);
        } else {
            ck_assert_str_eq(problem.path, "layers[0].tensors[0]");
        }
        definition_unref(definition);
        free(json);
    }
    tensor_file_free(file);
}
END_TEST

START_TEST(too_many)
{
    size_t n_bytes = (size_t)(TENSOR_FILE_TENSORS_MAX + 1) * 16 + sizeof tensors + 64, used;
    char *header = malloc(n_bytes);
    struct definition_problem problem;
    struct tensor_file *file = NULL;

    ck_assert_ptr_nonnull(header);
    used = (size_t)sprintf(header, "{\"__metadata__\":{");
    for (int i = 0; i <= TENSOR_FILE_TENSORS_MAX; i++)
        used += (size_t)sprintf(header + used, "%s\"%x\":\"b\"", i ? "," : "", (unsigned)i);
    sprintf(header + used, "},%s}", tensors);
    struct bytes bytes = safetensors_bytes(header, 12);
    ck_assert_int_eq(bytes_parse(&bytes, &file, &problem), -EBADMSG);
    ck_assert_str_eq(problem.message, "has more than 250000 other names of tensors");
    free(bytes.at);
    free(header);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("aliases");
    TCase *tests = tcase_create("aliases");

    tcase_add_loop_test(tests, grouped, 0, COUNT(groups));
    tcase_add_test(tests, of_two_tensors);
    tcase_add_test(tests, bound);
    tcase_add_test(tests, too_many);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
