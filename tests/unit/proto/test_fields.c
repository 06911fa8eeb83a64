/* Decoding by table: every type, every flag, and what must be refused. */
#include "tests/unit/fields_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>

static const struct field required[] = {
    {"size", FIELD_U64, offsetof(struct sample, size), FIELD_REQUIRED},
    {"name", FIELD_STRING, offsetof(struct sample, name), FIELD_REQUIRED},
    {0},
};

START_TEST(test_decode_all)
{
    json_t *json = parse("{\"flag\":true,\"size\":9223372036854775807,\"offset\":-5,\"ratio\":0.5,"
                         "\"name\":\"x\",\"inner\":{\"count\":3},\"any\":[1]}");
    struct sample sample = {0};
    const char *key;

    ck_assert_int_eq(fields_decode(fields, json, &sample, &key), 0);
    ck_assert(sample.flag);
    ck_assert_uint_eq(sample.size, INT64_MAX);
    ck_assert_int_eq(sample.offset, -5);
    ck_assert_double_eq(sample.ratio, 0.5);
    ck_assert_str_eq(sample.name, "x");
    ck_assert_uint_eq(sample.inner.count, 3);
    ck_assert_ptr_null(sample.inner.label);
    ck_assert_ptr_eq(sample.any, json_object_get(json, "any"));
    json_decref(json);
}
END_TEST

START_TEST(test_absent_keeps_default)
{
    static const char *const texts[] = {
        "{}", "{\"flag\":null,\"size\":null,\"name\":null,\"inner\":null,\"any\":null}"};
    const char *key;

    for (size_t i = 0; i < 2; i++) {
        json_t *json = parse(texts[i]);
        struct sample sample = {.flag = true, .size = 7, .name = "default", .inner = {9, "y"}};
        ck_assert_int_eq(fields_decode(fields, json, &sample, &key), 0);
        ck_assert(sample.flag);
        ck_assert_uint_eq(sample.size, 7);
        ck_assert_str_eq(sample.name, "default");
        ck_assert_uint_eq(sample.inner.count, 9);
        ck_assert_ptr_null(sample.any);
        json_decref(json);
    }
}
END_TEST

START_TEST(test_no_object)
{
    struct sample sample = {0};
    const char *key = NULL;

    ck_assert_int_eq(fields_decode(fields, NULL, &sample, &key), 0);
    ck_assert_int_eq(fields_decode(fields, json_null(), &sample, &key), 0);
    ck_assert_int_eq(fields_decode(nothing, NULL, NULL, &key), 0);
    ck_assert_ptr_null(key);
    ck_assert_int_eq(fields_decode(required, NULL, &sample, &key), -EINVAL);
    ck_assert_str_eq(key, "size");
}
END_TEST

START_TEST(test_refused)
{
    static const struct {
        const char *text, *key;
    } cases[] = {
        {"{\"flag\":1}", "flag"},
        {"{\"flag\":\"true\"}", "flag"},
        {"{\"size\":-1}", "size"},
        {"{\"size\":1.0}", "size"},
        {"{\"size\":1e3}", "size"},
        {"{\"size\":\"1\"}", "size"},
        {"{\"size\":true}", "size"},
        {"{\"offset\":0.5}", "offset"},
        {"{\"ratio\":\"0.5\"}", "ratio"},
        {"{\"ratio\":false}", "ratio"},
        {"{\"name\":1}", "name"},
        {"{\"name\":[\"x\"]}", "name"},
        {"{\"name\":\"a\\u0000b\"}", "name"},
        {"{\"inner\":[]}", "inner"},
        {"{\"inner\":1}", "inner"},
        {"{\"inner\":{}}", "count"},
        {"{\"inner\":{\"count\":null}}", "count"},
        {"{\"inner\":{\"count\":-1}}", "count"},
        {"{\"inner\":{\"count\":1,\"size\":1}}", "size"},
        {"{\"unknown\":null}", "unknown"},
        {"{\"Flag\":true}", "Flag"},
        {"{\"\":1}", ""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *json = parse(cases[i].text);
        struct sample sample = {0};
        const char *key = NULL;
        ck_assert_int_eq(fields_decode(fields, json, &sample, &key), -EINVAL);
        ck_assert_str_eq(key, cases[i].key);
        json_decref(json);
    }
}
END_TEST

START_TEST(test_real_takes_integers)
{
    json_t *json = parse("{\"ratio\":-3}");
    struct sample sample = {0};
    const char *key;

    ck_assert_int_eq(fields_decode(fields, json, &sample, &key), 0);
    ck_assert_double_eq(sample.ratio, -3.0);
    json_decref(json);
}
END_TEST

START_TEST(test_required)
{
    static const struct {
        const char *text, *key;
    } cases[] = {{"{}", "size"},
                 {"{\"size\":1}", "name"},
                 {"{\"name\":\"x\"}", "size"},
                 {"{\"size\":1,\"name\":null}", "name"},
                 {"{\"size\":1,\"name\":\"\"}", NULL}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *json = parse(cases[i].text);
        struct sample sample = {0};
        const char *key = NULL;
        ck_assert_int_eq(fields_decode(required, json, &sample, &key), cases[i].key ? -EINVAL : 0);
        ck_assert_pstr_eq(key, cases[i].key);
        json_decref(json);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fields");
    TCase *tcase = tcase_create("fields");
    tcase_add_test(tcase, test_decode_all);
    tcase_add_test(tcase, test_absent_keeps_default);
    tcase_add_test(tcase, test_no_object);
    tcase_add_test(tcase, test_refused);
    tcase_add_test(tcase, test_real_takes_integers);
    tcase_add_test(tcase, test_required);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
