/* Definitions as large as they may be, and larger ones, which are refused. */
#include "tests/unit/case_step.h"
#include "tests/unit/definition_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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

    /* 22 bytes and 7 values stand before the layers; one has 12 bytes and 4 values, because its
     * object counts as two; so the first value too many is the object of layer
     * (700000 - 7) / 4 = 174998, 22 + 174998 * 12 bytes in. */
    char *text = repeat("{\"bytes\":1}", 1000000, &n_bytes);
    ck_assert_int_eq(definition_parse(text, n_bytes, &definition, &problem), -EBADMSG);
    ck_assert_ptr_null(definition);
    ck_assert_str_eq(problem.message, "more than 700000 values");
    ck_assert_str_eq(problem.path, "");
    ck_assert_uint_eq(problem.line, 1);
    ck_assert_uint_eq(problem.column, 2099999);
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

int main(void)
{
    Suite *suite = suite_create("definition_limits");
    TCase *tests = tcase_create("definition_limits");

    tcase_add_test(tests, largest_sizes);
    tcase_add_test(tests, a_million_layers);
    tcase_add_test(tests, too_many_bytes);
    tcase_add_test(tests, finds_every_layer);
    tcase_add_test(tests, many_tensors);
    tcase_set_timeout(tests, 300);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
