/* Whole definitions: the result of a valid one, every mistake with its exact place, and the limits.
 * test_layer_type has the layer types. */
#include "common/definition/definition_parse.h"
#include "tests/unit/case_step.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static struct definition *parse(const char *text)
{
    struct definition_problem problem = {.message = ""};
    struct definition *definition = NULL;

    int r = definition_parse(text, strlen(text), &definition, &problem);
    ck_assert_msg(r == 0, "%u:%u %s: %s", problem.line, problem.column, problem.path,
                  problem.message);
    return definition;
}

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

START_TEST(largest_sizes)
{
    struct definition *definition =
        parse("{\"name\":\"m\",\"layers\":[{\"bytes\":9223372036854775807},"
              "{\"bytes\":9223372036854775807},{\"bytes\":1}]}");
    ck_assert_uint_eq(definition->bytes, UINT64_MAX);
    definition_unref(definition);

    definition = parse("{\"name\":\"m\",\"dtype\":\"u8\",\"layers\":[{\"tensors\":["
                       "{\"name\":\"a\",\"shape\":[4294967295,4294967297]}]}]}");
    ck_assert_uint_eq(definition->bytes, UINT64_MAX);
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

#define M(layer)      "{\"name\":\"m\",\"layers\":[" layer "]}"
#define T(tensor)     M("{\"tensors\":[" tensor "]}")
#define W(path)       "{\"name\":\"m\",\"layers\":[{\"bytes\":1}],\"weights\":" path "}"
#define N(name)       "{\"name\":" name ",\"layers\":[{\"bytes\":1}]}"
#define POSITIVE      "must be a positive integer"
#define KINDS         "needs one of \"type\", \"bytes\", \"tensors\""
#define NAME_LENGTH   "must have 1 to 255 bytes"
#define NAME_CONTROLS "must not contain control characters"
#define RELATIVE      "must be a relative path without \"..\""
#define FIFTY         "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
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

/* "{"name":"m","layers":[ELEMENT,ELEMENT...]}"; `format` may take the index. */
static char *repeat(const char *format, unsigned n, size_t *ret_bytes)
{
    char *text;
    FILE *out = open_memstream(&text, ret_bytes);

    fputs("{\"name\":\"m\",\"layers\":[", out);
    for (unsigned i = 0; i < n; i++) {
        char element[128];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(element, sizeof element, format, i);
#pragma GCC diagnostic pop
        fprintf(out, "%s%s", i ? "," : "", element);
    }
    fputs("]}", out);
    fclose(out);
    return text;
}

START_TEST(a_million_layers)
{
    struct definition_problem problem;
    struct definition *definition = NULL;
    size_t n_bytes;

    /* 22 bytes and 5 values stand before the layers; one has 12 bytes and 3 values; so the first
     * value too many is the key of layer (600001 - 5) / 3 = 199998, 22 + 199998 * 12 + 1 bytes in.
     */
    char *text = repeat("{\"bytes\":1}", 1000000, &n_bytes);
    ck_assert_int_eq(definition_parse(text, n_bytes, &definition, &problem), -EBADMSG);
    ck_assert_ptr_null(definition);
    ck_assert_str_eq(problem.message, "more than 600000 values");
    ck_assert_str_eq(problem.path, "");
    ck_assert_uint_eq(problem.line, 1);
    ck_assert_uint_eq(problem.column, 2400000);
    free(text);

    text = repeat("{\"bytes\":1}", 100001, &n_bytes);
    ck_assert_int_eq(definition_parse(text, n_bytes, &definition, &problem), -EBADMSG);
    ck_assert_str_eq(problem.path, "layers");
    ck_assert_str_eq(problem.message, "must have 1 to 100000 elements");
    free(text);
}
END_TEST

START_TEST(too_many_bytes)
{
    struct definition_problem problem;
    struct definition *definition = NULL;
    static const char end[] = "{\"name\":\"m\",\"layers\":[{\"bytes\":1}]}";
    size_t n = DEFINITION_BYTES_MAX;

    char *text = malloc(n + 1);
    memset(text, '\n', n + 1);
    memcpy(text + n - strlen(end), end, strlen(end));
    ck_assert_int_eq(definition_parse(text, n, &definition, &problem), 0);
    definition = definition_unref(definition);
    ck_assert_int_eq(definition_parse(text, n + 1, &definition, &problem), -EBADMSG);
    ck_assert_str_eq(problem.message, "longer than 16777216 bytes");
    ck_assert_uint_eq(problem.line, (unsigned)(n - strlen(end) + 1));
    ck_assert_uint_eq(problem.column, (unsigned)strlen(end) + 1);
    free(text);
}
END_TEST

START_TEST(finds_every_layer)
{
    struct definition_problem problem;
    struct definition *definition = NULL;
    size_t n_bytes;
    char name[32];

    char *text = repeat("{\"bytes\":1%05u}", 100000, &n_bytes);
    ck_assert_int_eq(definition_parse(text, n_bytes, &definition, &problem), 0);
    free(text);
    ck_assert_uint_eq(definition->n_layers, 100000);
    for (unsigned i = 0; i < definition->n_layers; i += (unsigned)case_step()) {
        snprintf(name, sizeof name, "layer_%u", i);
        if (definition_find_layer(definition, name) != i)
            ck_abort_msg("%s", name);
        if (definition->layers[i].bytes != 100000 + i)
            ck_abort_msg("%s", name);
        if (i > 0 && strcmp(definition->layers[definition->by_name[i - 1]].name,
                            definition->layers[definition->by_name[i]].name) >= 0)
            ck_abort_msg("order at %u", i);
    }
    static const char *const absent[] = {"", "a", "layer_", "layer_100000", "layer_00", "z"};
    for (int i = 0; i < COUNT(absent); i++)
        ck_assert_int_eq(definition_find_layer(definition, absent[i]), -ENOENT);
    definition_unref(definition);
}
END_TEST

/* The 250,000 tensors that a definition may have, from a text of 100 bytes. */
START_TEST(many_tensors)
{
    struct definition *definition =
        parse(M("{\"name\":\"x\",\"type\":\"lstm\",\"input_size\":1,\"hidden_size\":1,"
                "\"bias\":false,\"num_layers\":125000}"));
    const struct layer_definition *layer = &definition->layers[0];

    ck_assert_uint_eq(layer->n_tensors, DEFINITION_TENSORS_MAX);
    ck_assert_uint_eq(layer->bytes, UINT64_C(250000) * 16);
    ck_assert_str_eq(layer->tensors[249999].name, "x.weight_hh_l124999");
    definition_unref(definition);
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
    tcase_add_test(tests, largest_sizes);
    tcase_add_test(tests, references);
    tcase_add_loop_test(tests, refuses, 0, COUNT(bad));
    tcase_add_test(tests, a_million_layers);
    tcase_add_test(tests, too_many_bytes);
    tcase_add_test(tests, finds_every_layer);
    tcase_add_test(tests, many_tensors);
    tcase_add_test(tests, failing_allocations);
    tcase_set_timeout(tests, 300);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
