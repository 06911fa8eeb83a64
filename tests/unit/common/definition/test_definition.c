/* Whole definitions: the result of a valid one, and every mistake with its exact place.
 * test_definition_limits has the limits, and test_layer_type the layer types. */
#include "tests/unit/definition_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>

START_TEST(the_three_kinds_of_layers)
{
    struct definition *definition = parse(
        "{\"name\": \"example\", \"dtype\": \"f32\","
        " \"layers\": [{\"name\": \"dense_0\", \"type\": \"linear\", \"in_features\": 1024,"
        "              \"out_features\": 2048, \"bias\": true, \"activation\": \"relu\"},"
        "             {\"name\": \"raw\", \"bytes\": 1048576},"
        "             {\"name\": \"t\", \"tensors\":"
        "              [{\"name\": \"t.weight\", \"dtype\": \"bf16\", \"shape\": [64, 64]}]}],"
        " \"weights\": \"example.safetensors\"}");
    const struct layer_definition *layers = definition->layers;

    ck_assert_str_eq(definition->name, "example");
    ck_assert_str_eq(definition->weights, "example.safetensors");
    ck_assert_uint_eq(definition->n_layers, 3);
    ck_assert_uint_eq(definition->bytes, 8396800 + 1048576 + 8192);

    ck_assert_str_eq(layers[0].name, "dense_0");
    ck_assert_uint_eq(layers[0].bytes, 8396800);
    ck_assert_uint_eq(layers[0].n_tensors, 2);

    ck_assert_str_eq(layers[1].name, "raw");
    ck_assert_uint_eq(layers[1].bytes, 1048576);
    ck_assert_uint_eq(layers[1].n_tensors, 0);
    ck_assert_ptr_null(layers[1].tensors);

    ck_assert_str_eq(layers[2].name, "t");
    ck_assert_uint_eq(layers[2].bytes, 8192);
    ck_assert_uint_eq(layers[2].n_tensors, 1);
    ck_assert_str_eq(layers[2].tensors[0].name, "t.weight");
    ck_assert_str_eq(dtype_name(layers[2].tensors[0].type), "BF16");
    ck_assert_uint_eq(layers[2].tensors[0].n_dims, 2);
    ck_assert_uint_eq(layers[2].tensors[0].shape[1], 64);
    definition_unref(definition);
}
END_TEST

START_TEST(defaults_and_overrides)
{
    struct definition *definition =
        parse("{\"layers\":["
              "{\"bytes\":1},"
              "{\"bytes\":2,\"dtype\":\"i8\",\"activation\":\"gelu\"},"
              "{\"tensors\":[{\"name\":\"a\",\"shape\":[3]},"
              "{\"name\":\"b\",\"shape\":[3],\"dtype\":\"u8\"},{\"name\":\"c\",\"shape\":[]}],"
              "\"dtype\":\"f64\"},"
              "{\"name\":\"a/b.c \xc3\xa9\",\"tensors\":[{\"name\":\"a\",\"shape\":[3]}]}],"
              "\"dtype\":\"F16\",\"name\":\"m\"}");
    const struct layer_definition *layers = definition->layers;

    ck_assert_ptr_null(definition->weights);
    ck_assert_str_eq(layers[0].name, "layer_0");
    ck_assert_str_eq(layers[1].name, "layer_1");
    ck_assert_uint_eq(layers[1].bytes, 2);
    ck_assert_uint_eq(layers[2].tensors[0].bytes, 24);
    ck_assert_uint_eq(layers[2].tensors[1].offset_bytes, 24);
    ck_assert_uint_eq(layers[2].tensors[1].bytes, 3);
    ck_assert_uint_eq(layers[2].tensors[2].offset_bytes, 27);
    ck_assert_uint_eq(layers[2].tensors[2].bytes, 8);
    ck_assert_uint_eq(layers[2].tensors[2].n_dims, 0);
    ck_assert_uint_eq(layers[2].bytes, 35);
    ck_assert_str_eq(layers[3].name, "a/b.c \xc3\xa9");
    ck_assert_uint_eq(layers[3].bytes, 6);
    ck_assert_uint_eq(definition->bytes, 1 + 2 + 35 + 6);
    definition_unref(definition);
}
END_TEST

START_TEST(references)
{
    struct definition *definition = parse("{\"name\":\"m\",\"layers\":[{\"bytes\":1}]}");

    ck_assert_ptr_eq(definition_ref(definition), definition);
    ck_assert_ptr_null(definition_unref(definition));
    ck_assert_str_eq(definition->name, "m");
    ck_assert_ptr_null(definition_unref(definition));
    ck_assert_ptr_null(definition_unref(NULL));
}
END_TEST

#define T(tensor)     M("{\"tensors\":[" tensor "]}")
#define W(path)       "{\"name\":\"m\",\"layers\":[{\"bytes\":1}],\"weights\":" path "}"
#define N(name)       "{\"name\":" name ",\"layers\":[{\"bytes\":1}]}"
#define POSITIVE      "must be a positive integer"
#define KINDS         "needs one of \"type\", \"bytes\", \"tensors\""
#define NAME_LENGTH   "must have 1 to 255 bytes"
#define NAME_CONTROLS "must not contain control characters"
#define OTHER_FILE \
    "an object is expected: this is neither a model definition, nor a safetensors or GGUF file"
#define RELATIVE "must be a relative path without \"..\""
#define FIFTY    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
#define EURO10                                                     \
    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac" \
    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"

static const struct {
    const char *text;
    unsigned line, column;
    const char *path, *message;
} bad[] = {
    /* Syntax. */
    {"", 1, 1, "", "an object or an array is expected"},
    {" text", 1, 2, "", OTHER_FILE},
    {"PK\x03", 1, 1, "", OTHER_FILE},
    {"{\"name\":\"m\",\n \"layers\":[{\"bytes\":1,}]}", 2, 23, "", "a key or '}' is expected"},
    {"{\"name\":\"m\",\n \"name\":\"m\"}", 2, 2, "", "duplicate key"},
    {"{\"name\":\"\xff\"}", 1, 10, "", "invalid UTF-8"},
    {M("{\"bytes\":9223372036854775808}"), 1, 32, "", "integer beyond 64 bits"},
    {M("{\"bytes\":1}") " x", 1, 37, "", "nothing may follow the outermost value"},
    {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 1, 33, "", "nested deeper than 32 levels"},
    /* The model. */
    {"[]", 0, 0, "", "must be an object"},
    {"{}", 0, 0, "name", "is missing"},
    {"{\"name\":\"m\"}", 0, 0, "layers", "is missing"},
    {"{\"Name\":\"m\"}", 0, 0, "Name", "unknown key"},
    {"{\"a\\nb\\u001b\":1}", 0, 0, "a?b?", "unknown key"},
    {"{\"" FIFTY FIFTY FIFTY "\":1}", 0, 0, FIFTY FIFTY "nnnnnnnnnnnnnnnnnnnnnnnn...",
     "unknown key"},
    {"{\"x" EURO10 EURO10 EURO10 EURO10 EURO10 "\":1}", 0, 0,
     "x" EURO10 EURO10 EURO10 EURO10 "\xe2\x82\xac...", "unknown key"},
    {N("null"), 0, 0, "name", "must be a string"},
    {N("\"\""), 0, 0, "name", NAME_LENGTH},
    {N("\"" FIFTY FIFTY FIFTY FIFTY FIFTY "nnnnnn\""), 0, 0, "name", NAME_LENGTH},
    {N("\"a/b\""), 0, 0, "name", "must not contain '/'"},
    {N("\"a\\nb\""), 0, 0, "name", NAME_CONTROLS},
    {N("\"a\x7f\""), 0, 0, "name", NAME_CONTROLS},
    {N("\"a\xc2\x9f\""), 0, 0, "name", NAME_CONTROLS},
    {"{\"name\":\"m\",\"dtype\":\"q4\",\"layers\":[{\"bytes\":1}]}", 0, 0, "dtype",
     "unknown dtype"},
    {"{\"name\":\"m\",\"layers\":{}}", 0, 0, "layers", "must be an array"},
    {"{\"name\":\"m\",\"layers\":[]}", 0, 0, "layers", "must have 1 to 100000 elements"},
    {W("null"), 0, 0, "weights", "must be a string"},
    {W("\"\""), 0, 0, "weights", "must have 1 to 4095 bytes"},
    {W("\"/etc/passwd\""), 0, 0, "weights", RELATIVE},
    {W("\"..\""), 0, 0, "weights", RELATIVE},
    {W("\"../m\""), 0, 0, "weights", RELATIVE},
    {W("\"a/../../m\""), 0, 0, "weights", RELATIVE},
    {W("\"a//..\""), 0, 0, "weights", RELATIVE},
    /* A layer. */
    {M("7"), 0, 0, "layers[0]", "must be an object"},
    {M("{}"), 0, 0, "layers[0]", KINDS},
    {M("{\"bytes\":1},{\"name\":\"x\"}"), 0, 0, "layers[1]", KINDS},
    {M("{\"bytes\":1,\"type\":\"linear\"}"), 0, 0, "layers[0].bytes",
     "cannot stand beside \"type\""},
    {M("{\"bytes\":1,\"tensors\":[]}"), 0, 0, "layers[0].tensors", "cannot stand beside \"bytes\""},
    {M("{\"bytes\":0}"), 0, 0, "layers[0].bytes", POSITIVE},
    {M("{\"bytes\":-5}"), 0, 0, "layers[0].bytes", POSITIVE},
    {M("{\"bytes\":1.5}"), 0, 0, "layers[0].bytes", POSITIVE},
    {M("{\"bytes\":\"1M\"}"), 0, 0, "layers[0].bytes", POSITIVE},
    {M("{\"bytes\":null}"), 0, 0, "layers[0].bytes", POSITIVE},
    {M("{\"bytes\":1,\"in_features\":1}"), 0, 0, "layers[0].in_features", "unknown key"},
    {M("{\"bytes\":1,\"name\":7}"), 0, 0, "layers[0].name", "must be a string"},
    {M("{\"bytes\":1,\"name\":\"\"}"), 0, 0, "layers[0].name", NAME_LENGTH},
    {M("{\"bytes\":1,\"name\":\"\\t\"}"), 0, 0, "layers[0].name", NAME_CONTROLS},
    {M("{\"bytes\":1,\"dtype\":\"\"}"), 0, 0, "layers[0].dtype", "unknown dtype"},
    {M("{\"bytes\":9223372036854775807},{\"bytes\":9223372036854775807},{\"bytes\":2}"), 0, 0,
     "layers[2]", "the model has more than 2^64 - 1 bytes"},
    {M("{\"name\":\"a\",\"bytes\":1},{\"name\":\"b\",\"bytes\":1},{\"name\":\"b\",\"bytes\":1},"
       "{\"name\":\"a\",\"bytes\":1}"),
     0, 0, "layers[2].name", "an earlier layer has this name"},
    {M("{\"name\":\"layer_1\",\"bytes\":1},{\"bytes\":1}"), 0, 0, "layers[1].name",
     "an earlier layer has this name"},
    /* Tensors. */
    {M("{\"tensors\":{}}"), 0, 0, "layers[0].tensors", "must be an array"},
    {T(""), 0, 0, "layers[0].tensors", "must not be empty"},
    {T("7"), 0, 0, "layers[0].tensors[0]", "must be an object"},
    {T("{\"shape\":[1]}"), 0, 0, "layers[0].tensors[0].name", "is missing"},
    {T("{\"name\":\"a\"}"), 0, 0, "layers[0].tensors[0].shape", "is missing"},
    {T("{\"name\":\"a\",\"shape\":[1],\"bytes\":4}"), 0, 0, "layers[0].tensors[0].bytes",
     "unknown key"},
    {T("{\"name\":\"a\",\"shape\":1}"), 0, 0, "layers[0].tensors[0].shape",
     "must be an array of integers"},
    {T("{\"name\":\"a\",\"shape\":[1,0]}"), 0, 0, "layers[0].tensors[0].shape[1]", POSITIVE},
    {T("{\"name\":\"a\",\"shape\":[-1]}"), 0, 0, "layers[0].tensors[0].shape[0]", POSITIVE},
    {T("{\"name\":\"a\",\"shape\":[1,1,1,1,1,1,1,1,1]}"), 0, 0, "layers[0].tensors[0].shape",
     "must have at most 8 dimensions"},
    {T("{\"name\":\"a\",\"shape\":[1],\"dtype\":\"x\"}"), 0, 0, "layers[0].tensors[0].dtype",
     "unknown dtype"},
    {T("{\"name\":\"a\",\"shape\":[3],\"dtype\":\"f4\"}"), 0, 0, "layers[0].tensors[0].shape",
     "3 elements of F4 do not fill whole bytes"},
    {T("{\"name\":\"a\",\"shape\":[4294967296,4294967296]}"), 0, 0, "layers[0].tensors[0].shape",
     "the tensor has more than 2^64 - 1 bytes"},
    {T("{\"name\":\"a\",\"shape\":[4611686018427387904]}"), 0, 0, "layers[0].tensors[0].shape",
     "the tensor has more than 2^64 - 1 bytes"},
    {T("{\"name\":\"a\",\"shape\":[4611686018427387903]},{\"name\":\"b\",\"shape\":[1]}"), 0, 0,
     "layers[0]", "the layer has more than 2^64 - 1 bytes"},
    {T("{\"name\":\"a\",\"shape\":[1]},{\"name\":\"b\",\"shape\":[1]},"
       "{\"name\":\"a\",\"shape\":[2]}"),
     0, 0, "layers[0].tensors[2].name", "an earlier tensor of the layer has this name"},
};

START_TEST(refuses)
{
    struct definition_problem problem = {.line = 77, .column = 77, .path = "old"};
    struct definition *definition = NULL;

    int r = definition_parse(bad[_i].text, strlen(bad[_i].text), &definition, &problem);
    ck_assert_msg(r == -EBADMSG, "%s: %d", bad[_i].text, r);
    ck_assert_ptr_null(definition);
    ck_assert_str_eq(problem.path, bad[_i].path);
    ck_assert_str_eq(problem.message, bad[_i].message);
    ck_assert_msg(problem.line == bad[_i].line && problem.column == bad[_i].column, "%s: %u:%u",
                  bad[_i].text, problem.line, problem.column);
}
END_TEST

static long allocations_left;

static void *failing_malloc(size_t n)
{
    return allocations_left-- > 0 ? malloc(n) : NULL;
}

/* The leak reports of the sanitizers and of valgrind show whether memory is left. */
START_TEST(failing_allocations)
{
    static const char text[] =
        "{\"name\":\"m\",\"layers\":[{\"bytes\":1},{\"name\":\"a long name of "
        "a layer\",\"type\":\"layer_norm\",\"normalized_shape\":[2]}]}";
    struct definition_problem problem;
    bool failed = false, succeeded = false;

    json_set_alloc_funcs(failing_malloc, free);
    for (long n = 0; n < 200; n++) {
        struct definition *definition = NULL;
        allocations_left = n;
        int r = definition_parse(text, strlen(text), &definition, &problem);
        ck_assert(r == 0 || r == -ENOMEM || r == -EBADMSG);
        ck_assert_int_eq(r == 0, definition != NULL);
        failed |= r < 0;
        succeeded |= r == 0;
        definition_unref(definition);
    }
    json_set_alloc_funcs(malloc, free);
    ck_assert(failed && succeeded);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("definition");
    TCase *tests = tcase_create("definition");

    tcase_add_test(tests, the_three_kinds_of_layers);
    tcase_add_test(tests, defaults_and_overrides);
    tcase_add_test(tests, references);
    tcase_add_loop_test(tests, refuses, 0, COUNT(bad));
    tcase_add_test(tests, failing_allocations);
    tcase_set_timeout(tests, 300);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
