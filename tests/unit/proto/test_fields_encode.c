/* Encoding by table, as a tree and as text: every type, every flag, and what cannot be encoded. */
#include "tests/unit/fields_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

/* Both encodings must agree. */
static void assert_encoded(const struct field *table, const void *source, const char *text)
{
    json_t *json = fields_encode(table, source), *wanted = parse(text);
    char *formatted;
    size_t n_bytes;

    ck_assert_int_eq(fields_format(table, source, "<", ">", &formatted, &n_bytes), 0);
    ck_assert_uint_eq(strlen(formatted), n_bytes);
    ck_assert(formatted[0] == '<' && formatted[n_bytes - 1] == '>');
    formatted[n_bytes - 1] = '\0';
    json_t *again = parse(formatted + 1);
    ck_assert_msg(json_equal(again, wanted), "%s", formatted);
    json_decref(again);
    free(formatted);

    ck_assert_msg(json_equal(json, wanted), "%s", json_dumps(json, 0));
    json_decref(json);
    json_decref(wanted);
}

START_TEST(test_encode)
{
    struct sample sample = {.flag = true,
                            .size = 5,
                            .offset = INT64_MIN,
                            .ratio = 0.25,
                            .name = "n",
                            .inner = {1, "l"},
                            .any = json_pack("[i]", 1)};

    assert_encoded(fields, &sample,
                   "{\"flag\":true,\"size\":5,\"offset\":-9223372036854775808,"
                   "\"ratio\":0.25,\"name\":\"n\","
                   "\"inner\":{\"count\":1,\"label\":\"l\"},\"any\":[1]}");
    ck_assert_uint_eq(sample.any->refcount, 1);
    json_decref(sample.any);
}
END_TEST

START_TEST(test_encode_leaves_out)
{
    struct sample sample = {.size = UINT64_MAX, .inner = {.count = UINT64_MAX}};

    /* count is not nullable. */
    assert_encoded(fields, &sample,
                   "{\"flag\":false,\"offset\":0,\"ratio\":0.0,"
                   "\"inner\":{\"count\":9223372036854775807}}");
    sample.size = (uint64_t)INT64_MAX + 1;
    sample.inner.count = 0;
    assert_encoded(fields, &sample,
                   "{\"flag\":false,\"size\":9223372036854775807,\"offset\":0,"
                   "\"ratio\":0.0,\"inner\":{\"count\":0}}");
    sample.ratio = -0.01;
    assert_encoded(fields, &sample,
                   "{\"flag\":false,\"size\":9223372036854775807,\"offset\":0,"
                   "\"inner\":{\"count\":0}}");
}
END_TEST

struct row {
    struct inner inner;
    struct field_array numbers;
};

static const struct field row_fields[] = {
    {"inner", FIELD_OBJECT, offsetof(struct row, inner), 0, inner_fields},
    {"numbers", FIELD_NUMBERS, offsetof(struct row, numbers)},
    {0},
};

struct table {
    struct field_array rows, inners;
};

static const struct field table_fields[] = {
    {"rows", FIELD_OBJECTS, offsetof(struct table, rows), 0, row_fields},
    {"inners", FIELD_OBJECTS, offsetof(struct table, inners), 0, inner_fields},
    {0},
};

#define ARRAY(items, n)           \
    {                             \
        items, n, sizeof *(items) \
    }

START_TEST(test_encode_arrays)
{
    const uint64_t numbers[] = {0, 7, UINT64_MAX};
    struct row rows[] = {
        {{1, "\"\xc3\xa9"}, ARRAY(numbers, 3)}, {{2, NULL}, ARRAY(numbers + 1, 1)}, {{3, ""}, {0}}};
    struct table table = {ARRAY(rows, 3), ARRAY(&rows[1].inner, 1)};

    assert_encoded(table_fields, &table,
                   "{\"rows\":[{\"inner\":{\"count\":1,\"label\":\"\\\"\xc3\xa9\"},"
                   "\"numbers\":[0,7,9223372036854775807]},"
                   "{\"inner\":{\"count\":2},\"numbers\":[7]},"
                   "{\"inner\":{\"count\":3,\"label\":\"\"},\"numbers\":[]}],"
                   "\"inners\":[{\"count\":2}]}");
    table.rows.item_bytes = 0; /* the first one, again and again */
    table.inners = (struct field_array){0};
    rows[0].numbers.n_items = 0;
    rows[0].inner.label = NULL;
    assert_encoded(table_fields, &table,
                   "{\"rows\":[{\"inner\":{\"count\":1},\"numbers\":[]},"
                   "{\"inner\":{\"count\":1},\"numbers\":[]},"
                   "{\"inner\":{\"count\":1},\"numbers\":[]}],\"inners\":[]}");
}
END_TEST

START_TEST(test_encode_arrays_fails_whole)
{
    struct row rows[] = {{{1, "x"}, {0}}, {{2, "\xff"}, {0}}};
    const struct table table = {ARRAY(rows, 2), {0}};
    char *text;
    size_t n_bytes;

    ck_assert_ptr_null(fields_encode(table_fields, &table));
    ck_assert_int_eq(fields_format(table_fields, &table, "", "", &text, &n_bytes), -ENOMEM);
}
END_TEST

START_TEST(test_format_strings)
{
    static const char *const strings[] = {
        "",      "plain", "\"", "\\", "a\nb\tc", "\x01\x1f", "\x7f", "\xc3\xa9", "\xf0\x9f\x98\x80",
        "/ <>&'"};

    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        struct sample sample = {.name = strings[i]};
        char *text;
        size_t n_bytes;
        ck_assert_int_eq(fields_format(fields, &sample, "", "", &text, &n_bytes), 0);
        json_t *json = parse(text);
        ck_assert_str_eq(json_string_value(json_object_get(json, "name")), strings[i]);
        json_decref(json);
        free(text);
    }
}
END_TEST

/* A pending message takes no more memory than it needs. */
START_TEST(test_format_takes_its_length)
{
    static const size_t lengths[] = {1, 100, 2000, 300000};
    char *name = malloc(lengths[_i] + 1), *text;
    size_t n_bytes;

    memset(name, 'n', lengths[_i]);
    name[lengths[_i]] = '\0';
    struct sample sample = {.name = name, .any = json_array()};
    ck_assert_int_eq(fields_format(fields, &sample, "", "", &text, &n_bytes), 0);
    ck_assert_uint_eq(strlen(text), n_bytes);
    /* A long text has a mapping of its own, of whole pages. */
    size_t rounded = n_bytes > 100000 ? getauxval(AT_PAGESZ) : 64 + n_bytes / 64;
    ck_assert_uint_lt(malloc_usable_size(text), n_bytes + rounded);
    json_decref(sample.any);
    free(text);
    free(name);
}
END_TEST

START_TEST(test_format_long)
{
    enum { N_BYTES = 100000 };
    char *name = malloc(N_BYTES + 1), *text;
    size_t n_bytes;

    memset(name, 'n', N_BYTES);
    name[N_BYTES] = '\0';
    struct sample sample = {.name = name, .any = json_array()};
    for (int i = 0; i < 10000; i++)
        json_array_append_new(sample.any, json_integer(i));
    ck_assert_int_eq(fields_format(fields, &sample, "", "", &text, &n_bytes), 0);
    json_t *json = parse(text);
    ck_assert_str_eq(json_string_value(json_object_get(json, "name")), name);
    ck_assert(json_equal(json_object_get(json, "any"), sample.any));
    json_decref(json);
    json_decref(sample.any);
    free(text);
    free(name);
}
END_TEST

START_TEST(test_format_nothing)
{
    char *text;
    size_t n_bytes;

    ck_assert_int_eq(fields_format(nothing, NULL, "[", "]", &text, &n_bytes), 0);
    ck_assert_str_eq(text, "[{}]");
    free(text);
}
END_TEST

START_TEST(test_encode_keeps_a_reference)
{
    struct sample sample = {.any = json_array()};
    json_t *json = fields_encode(fields, &sample);

    json_decref(sample.any);
    ck_assert_uint_eq(json_array_size(json_object_get(json, "any")), 0);
    ck_assert(json_is_array(json_object_get(json, "any")));
    json_decref(json);
}
END_TEST

START_TEST(test_encode_fails_whole)
{
    static const struct field plain[] = {
        {"name", FIELD_STRING, offsetof(struct sample, name)},
        {"any", FIELD_JSON, offsetof(struct sample, any)},
        {0},
    };
    struct sample sample = {.name = "x"};
    char *text;
    size_t n_bytes;

    /* If a value must not be NULL, NULL means that an allocation has failed. */
    ck_assert_ptr_null(fields_encode(plain, &sample));
    ck_assert_int_eq(fields_format(plain, &sample, "", "", &text, &n_bytes), -ENOMEM);
    sample.name = NULL;
    sample.any = json_true();
    ck_assert_ptr_null(fields_encode(plain, &sample));
    ck_assert_int_eq(fields_format(plain, &sample, "", "", &text, &n_bytes), -ENOMEM);
    sample = (struct sample){.ratio = NAN};
    ck_assert_ptr_null(fields_encode(fields, &sample));
    ck_assert_int_eq(fields_format(fields, &sample, "", "", &text, &n_bytes), -ENOMEM);
    sample = (struct sample){.name = "\xff"};
    ck_assert_ptr_null(fields_encode(fields, &sample));
    ck_assert_int_eq(fields_format(fields, &sample, "", "", &text, &n_bytes), -ENOMEM);
}
END_TEST

START_TEST(test_round_trip)
{
    struct sample sample = {
        .flag = true, .size = 1, .offset = -1, .ratio = 1e300, .name = "\xc3\xa9"};
    struct sample copy = {0};
    json_t *json = fields_encode(fields, &sample);
    const char *key;

    ck_assert_int_eq(fields_decode(fields, json, &copy, &key), 0);
    ck_assert_str_eq(copy.name, sample.name);
    ck_assert_double_eq(copy.ratio, sample.ratio);
    ck_assert_int_eq(copy.offset, -1);
    json_decref(json);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fields_encode");
    TCase *tcase = tcase_create("fields_encode");
    tcase_add_test(tcase, test_encode);
    tcase_add_test(tcase, test_encode_leaves_out);
    tcase_add_test(tcase, test_encode_arrays);
    tcase_add_test(tcase, test_encode_arrays_fails_whole);
    tcase_add_test(tcase, test_format_strings);
    tcase_add_loop_test(tcase, test_format_takes_its_length, 0, 4);
    tcase_add_test(tcase, test_format_long);
    tcase_add_test(tcase, test_format_nothing);
    tcase_add_test(tcase, test_encode_keeps_a_reference);
    tcase_add_test(tcase, test_encode_fails_whole);
    tcase_add_test(tcase, test_round_trip);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
