/* The metadata of GGUF files: names, arrays, and that skipped values take no memory. */
#include "common/formats/gguf.h"
#include "tests/unit/header_fixture.h"
#include "tests/unit/run_suite.h"

#include <stdio.h>

static const uint64_t one[] = {1};

START_TEST(model_names)
{
    static const char *const names[] = {"", "a", "\xff\xfe"};
    char name[300];

    for (int i = 0; i <= COUNT(names); i++) {
        memset(name, 'n', sizeof name);
        name[sizeof name - 1] = '\0';
        begin_gguf(3, 1, 2);
        gguf_key(&bytes, "general.name", GGUF_STRING);
        gguf_string(&bytes, i < COUNT(names) ? names[i] : name);
        gguf_key(&bytes, "general.name", GGUF_STRING); /* the first one counts */
        gguf_string(&bytes, "second");
        gguf_tensor(&bytes, "t", 1, one, 24, 0);
        gguf_data(&bytes, 32, 1);
        accept();
        name[DEFINITION_NAME_MAX] = '\0';
        ck_assert_str_eq(file->model_name, i < COUNT(names) ? names[i] : name);
    }
    begin_gguf(3, 1, 2);
    gguf_key(&bytes, "general.name", GGUF_U32);
    bytes_number(&bytes, 5, 4);
    bytes_number(&bytes, 14, 8);
    bytes_add(&bytes, "general.name\0x", 14); /* some other key */
    bytes_number(&bytes, GGUF_STRING, 4);
    gguf_string(&bytes, "other");
    gguf_tensor(&bytes, "t", 1, one, 24, 0);
    gguf_data(&bytes, 32, 1);
    accept();
    ck_assert_ptr_null(file->model_name);
}
END_TEST

START_TEST(metadata)
{
    begin_gguf(3, 1, 1);
    gguf_key(&bytes, "a\x1bkey\xff", 13);
    gguf_data(&bytes, 32, 64);
    refuse("a?key?", "unknown type 13 of a value");

    begin_gguf(3, 1, 1);
    gguf_array(&bytes, "key", 77, 1);
    gguf_data(&bytes, 32, 64);
    refuse("key", "unknown type 77 of an array's elements");

    /* Lengths whose product with the element size is small again. */
    begin_gguf(3, 1, 1);
    gguf_array(&bytes, "key", GGUF_U64, (UINT64_C(1) << 61) + 1);
    gguf_data(&bytes, 64, 0);
    refuse("header", "the file ends at byte 64, inside the header");

    begin_gguf(3, 1, 1);
    gguf_key(&bytes, "key", GGUF_STRING);
    bytes_number(&bytes, UINT64_MAX, 8);
    gguf_data(&bytes, 64, 0);
    refuse("header", "the file ends at byte 64, inside the header");

    begin_gguf(3, 1, 1);
    bytes_number(&bytes, UINT64_MAX - 3, 8);
    gguf_data(&bytes, 64, 0);
    refuse("header", "the file ends at byte 64, inside the header");

    begin_gguf(3, 1, UINT64_MAX); /* zeros are empty keys with values of type 0 */
    gguf_data(&bytes, 64, 0);
    refuse("header", "the file ends at byte 64, inside the header");
}
END_TEST

START_TEST(nested_arrays)
{
    for (int depth = 1; depth <= 100000; depth = depth < 12 ? depth + 1 : depth * 10) {
        begin_gguf(3, 1, 1);
        gguf_key(&bytes, "bomb", GGUF_ARRAY);
        for (int i = 1; i < depth; i++)
            gguf_elements(&bytes, GGUF_ARRAY, 1);
        gguf_elements(&bytes, GGUF_U8, 0);
        gguf_tensor(&bytes, "t", 1, one, 24, 0);
        gguf_data(&bytes, 32, 1);
        if (depth <= GGUF_ARRAY_DEPTH_MAX)
            accept();
        else
            refuse("bomb", "arrays nested deeper than 8 levels");
    }
    /* The largest numbers. */
    begin_gguf(3, 1, 1);
    gguf_key(&bytes, "bomb", GGUF_ARRAY);
    for (int i = 0; i < 7; i++)
        gguf_elements(&bytes, GGUF_ARRAY, UINT64_MAX);
    gguf_elements(&bytes, GGUF_STRING, UINT64_MAX);
    gguf_data(&bytes, 256, 0);
    refuse("header", "the file ends at byte 256, inside the header");
}
END_TEST

START_TEST(large_vocabulary)
{
    enum { N_TOKENS = 500000 };
    static char tokens[N_TOKENS * 40];
    char *end = tokens;

    for (int i = 0; i < N_TOKENS; i++) {
        char text[48];
        uint64_t n = (uint64_t)sprintf(text, "a token whose number is %d", i);
        memcpy(end, &n, 8); /* tests run on little-endian machines */
        memcpy(end + 8, text, n);
        end += 8 + n;
    }
    begin_gguf(3, 1, 1);
    gguf_array(&bytes, "tokens", GGUF_STRING, N_TOKENS);
    bytes_add(&bytes, tokens, (size_t)(end - tokens));
    gguf_tensor(&bytes, "t", 1, one, 24, 0);
    gguf_data(&bytes, 32, 1);
    ck_assert_uint_gt(bytes.n, TENSOR_FILE_HEADER_MAX);
    accept();
    ck_assert_uint_eq(file->entries[0].file_offset_bytes, bytes.n);
    ck_assert_uint_le(bytes.n_read_max, 64 << 10);
}
END_TEST

START_TEST(endless_metadata)
{
    begin_gguf(3, 1, 1);
    gguf_array(&bytes, "array", GGUF_U64, GGUF_METADATA_MAX / 8);
    gguf_data(&bytes, 1, UINT64_C(1) << 40);
    refuse("header", "metadata of more than 67108864 bytes");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gguf_metadata");
    TCase *tests = tcase_create("gguf_metadata");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, NULL, begin);
    tcase_add_test(tests, model_names);
    tcase_add_test(tests, metadata);
    tcase_add_test(tests, nested_arrays);
    tcase_add_test(tests, large_vocabulary);
    tcase_add_test(tests, endless_metadata);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
