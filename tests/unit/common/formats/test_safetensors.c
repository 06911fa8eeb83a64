/* Every element type, every way in which a header can be wrong, and that memory stays bounded. */
#include "common/formats/tensor_format.h"
#include "tests/unit/header_fixture.h"
#include "tests/unit/run_suite.h"

#include <jansson.h>

/* One element more or less than a block, and sizes that the format's documentation gives. */
static const struct {
    const char *name;
    const char *shape;
    uint64_t bytes;
} dtypes[] = {
    {"BOOL", "[3]", 3},        {"U8", "[3]", 3},          {"I8", "[3]", 3},
    {"F8_E5M2", "[3]", 3},     {"F8_E4M3", "[3]", 3},     {"F8_E8M0", "[3]", 3},
    {"F8_E4M3FNUZ", "[3]", 3}, {"F8_E5M2FNUZ", "[3]", 3}, {"I16", "[3]", 6},
    {"U16", "[3]", 6},         {"F16", "[3]", 6},         {"BF16", "[3]", 6},
    {"I32", "[3]", 12},        {"U32", "[3]", 12},        {"F32", "[3]", 12},
    {"C64", "[3]", 24},        {"F64", "[3]", 24},        {"I64", "[3]", 24},
    {"U64", "[3]", 24},        {"F4", "[3,2]", 3},        {"F6_E2M3", "[2,2]", 3},
    {"F6_E3M2", "[4,3]", 9},   {"F64", "[]", 8},          {"U8", "[0]", 0},
    {"F32", "[5,0,7]", 0},     {"F4", "[0]", 0},          {"F16", "[1,1,1,1,1,1,1,2]", 4},
};

START_TEST(every_dtype)
{
    char header[512];

    /* After another tensor, so that a tensor without bytes has a place, too. */
    snprintf(header, sizeof header,
             "{\"t\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[5,%" PRIu64
             "]},\"a\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]}}",
             dtypes[_i].name, dtypes[_i].shape, 5 + dtypes[_i].bytes);
    begin_safetensors(header, 5 + dtypes[_i].bytes);
    accept();
    ck_assert_uint_eq(file->n_entries, 2);
    const struct tensor_entry *entry = &file->entries[1];
    ck_assert_str_eq(entry->name, "t");
    ck_assert_str_eq(dtype_name(entry->type), dtypes[_i].name);
    ck_assert_uint_eq(entry->bytes, dtypes[_i].bytes);
    ck_assert_uint_eq(entry->file_offset_bytes, 8 + strlen(header) + 5);
}
END_TEST

START_TEST(contents)
{
    static const char header[] =
        "{ \"__metadata__\" : { \"format\":\"pt\" , \"a,b\":\"}]\\\"\" } ,\n"
        "\"b.\\u00e9\" : {\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[16,40],\"more\":{}},"
        "\"a\":{\"data_offsets\":[0,16],\"shape\":[],\"dtype\":\"C64\",\"shape2\":[1]},"
        "\"empty\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]},"
        "\"c\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[8,16]}}  \n\t ";
    char text[sizeof header];

    strcpy(text, header);
    memcpy(strstr(text, "[0,16]"), "[0,8] ", 6);
    begin_safetensors(text, 40);
    accept();
    static const char *const names[] = {"a", "empty", "c", "b.\xc3\xa9"};
    static const uint64_t offsets[] = {0, 8, 8, 16};
    ck_assert_uint_eq(file->n_entries, COUNT(names));
    for (int i = 0; i < COUNT(names); i++) {
        ck_assert_str_eq(file->entries[i].name, names[i]);
        ck_assert_uint_eq(file->entries[i].file_offset_bytes, 8 + strlen(text) + offsets[i]);
    }
    ck_assert_uint_eq(file->entries[3].n_dims, 2);
    ck_assert_uint_eq(file->entries[3].shape[0], 2);
    ck_assert_uint_eq(file->entries[3].shape[1], 3);
    ck_assert_uint_eq(file->entries[0].n_dims, 0);
    ck_assert_ptr_null(file->model_name);
    ck_assert_int_eq(tensor_file_find(file, "b"), -ENOENT);
    ck_assert_int_eq(tensor_file_find(file, ""), -ENOENT);
}
END_TEST

static const struct {
    const char *header;
    uint64_t n_data;
    const char *path, *message;
} bad[] = {
    /* Figures. */
    {"{" T("a", "F32", "[100]", "[0,400]") "," T("b", "F32", "[100]", "[200,600]") "}", 600, "b",
     "bytes [200, 600) of the data overlap [0, 400) of \"a\""},
    {"{" T("b", "F32", "[100]", "[0,400]") "," T("a", "F32", "[100]", "[0,400]") "}", 400, "b",
     "bytes [0, 400) of the data overlap [0, 400) of \"a\""},
    {"{" T("a", "F32", "[1]", "[4,0]") "}", 4, "a", "data_offsets [4, 0) run backwards"},
    {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "U8", "[1]", "[5,6]") "}", 6, "b",
     "begins at byte 5 of the data, but the tensor before it ends at 4"},
    {"{" T("a", "U8", "[1]", "[1,2]") "}", 2, "a",
     "begins at byte 1 of the data, but the tensor before it ends at 0"},
    {"{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[0]", "[2,2]") "}", 4, "b",
     "begins at byte 2 of the data, but the tensor before it ends at 4"},
    {"{" T("a", "U8", "[4096]", "[0,4096]") "}", 4000, "a",
     "ends at byte 4163, but the file has 4067"},
    {"{" T("a", "U8", "[4]", "[0,4]") "}", 5, "data", "ends at byte 65, but the file has 66"},
    {"{" T("a", "F32", "[2]", "[0,4]") "}", 4, "a",
     "data_offsets [0, 4) hold 4 bytes, but dtype and shape make 8"},
    {"{" T("a", "U8", "[9223372036854775807]", "[0,9223372036854775807]") "}", 5, "a",
     "ends at byte 9223372036854775904, but the file has 102"},
    {"{" T("a", "U8", "[1]", "[9223372036854775806,9223372036854775807]") "}", 5, "a",
     "ends at byte 9223372036854775904, but the file has 102"},
    /* Products. */
    {"{" T("a", "F32", "[4611686018427387904]", "[0,0]") "}", 0, "a",
     "has more than 2^64 - 1 bytes"},
    {"{" T("a", "U8", "[4294967296,4294967296]", "[0,0]") "}", 0, "a",
     "has more than 2^64 - 1 bytes"},
    {"{" T("a", "F64", "[2,1152921504606846976,2]", "[0,0]") "}", 0, "a",
     "has more than 2^64 - 1 bytes"},
    {"{" T("a", "F4", "[3]", "[0,1]") "}", 1, "a", "3 elements of F4 do not fill whole bytes"},
    {"{" T("a", "F6_E3M2", "[2]", "[0,1]") "}", 1, "a",
     "2 elements of F6_E3M2 do not fill whole bytes"},
    /* Names. */
    {"{" T("a", "U8", "[1]", "[0,1]") "," T("\\u0061", "U8", "[1]", "[1,2]") "}", 2, "a",
     "two tensors have this name, at bytes 0 and 1 of the data"},
    {"{" T("", "U8", "[1]", "[0,1]") "}", 1, "tensors[0]",
     "the name has 0 bytes, but must have 1 to 255"},
    {"{" T("a\\u0007", "U8", "[1]", "[0,1]") "}", 1, "tensors[0]",
     "byte 1 of the name is a control character"},
    {"{" T("a\\u009b", "U8", "[1]", "[0,1]") "}", 1, "tensors[0]",
     "byte 1 of the name is a control character"},
    {"{\"__metadata__\":{},\"__metadata__\":{}," T("a", "U8", "[1]", "[0,1]") "}", 1,
     "__metadata__", "stands twice"},
    {"{\"__metadata__\":[]," T("a", "U8", "[1]", "[0,1]") "}", 1, "__metadata__",
     "must be an object"},
    {"{\"__metadata__\":{\"a\":1}," T("a", "U8", "[1]", "[0,1]") "}", 1, "__metadata__",
     "must map strings to strings"},
    {"{\"__metadata__\":{\"a\":\"b\"}x," T("a", "U8", "[1]", "[0,1]") "}", 1, "header",
     "byte 33 of the file: ',' or '}' is expected"},
    {"{\"\\u005f_metadata__\":{}}", 0, "__metadata__", "dtype must be a string"},
    /* Types. */
    {"{" T("a", "F77", "[1]", "[0,1]") "}", 1, "a", "unknown dtype \"F77\""},
    {"{" T("a", "f32", "[1]", "[0,4]") "}", 4, "a", "unknown dtype \"f32\""},
    {"{" T("a", "Q4_0", "[32]", "[0,18]") "}", 18, "a", "unknown dtype \"Q4_0\""},
    {"{" T("a", "x\\u001b[2J\\u0007", "[1]", "[0,1]") "}", 1, "a", "unknown dtype \"x?[2J?\""},
    {"{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "a",
     "dtype must be a string"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "a", "dtype must be a string"},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "a", "shape must be an array"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "a", "data_offsets must be an array"},
    {"{" T("a", "U8", "1", "[0,1]") "}", 1, "a", "shape must be an array"},
    {"{" T("a", "U8", "[-1]", "[0,1]") "}", 1, "a", "shape[0] must be an integer of at least 0"},
    {"{" T("a", "U8", "[1,1.0]", "[0,1]") "}", 1, "a", "shape[1] must be an integer of at least 0"},
    {"{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "a",
     "shape has 9 elements, more than 8"},
    {"{" T("a", "U8", "[1]", "[0]") "}", 1, "a", "data_offsets must have two elements"},
    {"{" T("a", "U8", "[1]", "[0,1,2]") "}", 1, "a", "data_offsets has 3 elements, more than 2"},
    {"{" T("a", "U8", "[1]", "[0,\"1\"]") "}", 1, "a",
     "data_offsets[1] must be an integer of at least 0"},
    {"{\"a\":[]}", 0, "a", "must be an object"},
    /* Syntax; the object begins at byte 8. */
    {"{}", 0, "header", "names no tensors"},
    {"{\"__metadata__\":{\"a\":\"b\"}}", 0, "header", "names no tensors"},
    {"{" T("a", "U8", "[1]", "[0,1]") "} x", 1, "header",
     "byte 62 of the file: only spaces may follow the object"},
    {"{" T("a", "U8", "[1]", "[0,1]") ",}", 1, "header", "byte 61 of the file: a key is expected"},
    {"{," T("a", "U8", "[1]", "[0,1]") "}", 1, "header", "byte 9 of the file: a key is expected"},
    {"{" T("a", "U8", "[1]", "[0,1]") ",,}", 1, "header", "byte 61 of the file: a key is expected"},
    {"{" T("a", "U8", "[1]", "[0,1]") "]", 1, "header",
     "byte 60 of the file: ',' or '}' is expected"},
    {"{" T("a", "U8", "[1]", "[0,1]"), 1, "header",
     "byte 60 of the file: the header ends too early"},
    {"{\"a", 1, "header", "byte 11 of the file: the header ends too early"},
    {"{\"a\\", 1, "header", "byte 12 of the file: the header ends too early"},
    {"{" T("a", "U8", "[1}", "[0,1]") "}", 1, "header",
     "byte 37 of the file: ',' or ']' is expected"},
    {"{" T("a", "U8", "[1]", "[0,1]") "," T("b", "U8", "[1]", "[1,\n\n  2 3]") "}", 3, "header",
     "byte 115 of the file: ',' or ']' is expected"},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 0, "header",
     "byte 27 of the file: duplicate key"},
    {"{\"a\":{\"b\":[[[[[[[1]]]]]]]}}", 0, "header",
     "byte 24 of the file: nested deeper than 8 levels"},
    {"{" T("a", "U8", "[9223372036854775808]", "[0,1]") "}", 1, "header",
     "byte 36 of the file: integer beyond 64 bits"},
    {"{" T("a\xff", "U8", "[1]", "[0,1]") "}", 1, "header", "byte 11 of the file: invalid UTF-8"},
    {"{ \"a\" \"b\" }", 1, "header", "byte 14 of the file: ':' is expected"},
};

START_TEST(refuses)
{
    begin_safetensors(bad[_i].header, bad[_i].n_data);
    refuse(bad[_i].path, bad[_i].message);
}
END_TEST

START_TEST(header_length)
{
    static const struct {
        uint64_t length;
        const char *message;
    } cases[] = {
        {UINT64_C(1) << 63, "is 9223372036854775808 bytes long, more than 16777216"},
        {UINT64_MAX - 255, "is 18446744073709551360 bytes long, more than 16777216"},
        {(16 << 20) + 1, "is 16777217 bytes long, more than 16777216"},
        {16 << 20, "ends at byte 16777224, but the file has 16"},
        {9, "ends at byte 17, but the file has 16"},
        {0, "is empty"},
        {1, "byte 9 of the file: the header ends too early"},
    };

    for (int i = 0; i < COUNT(cases); i++) {
        begin();
        bytes_number(&bytes, cases[i].length, 8);
        bytes_add(&bytes, "{}      ", 8);
        refuse("header", cases[i].message);
    }
}
END_TEST

/* jansson's memory, and its maximum. */
static size_t json_bytes, json_bytes_max;

static void *counting_malloc(size_t n)
{
    size_t *block = malloc(sizeof(max_align_t) + n);

    if (!block)
        return NULL;
    *block = n;
    json_bytes += n;
    if (json_bytes > json_bytes_max)
        json_bytes_max = json_bytes;
    return (char *)block + sizeof(max_align_t);
}

static void counting_free(void *pointer)
{
    if (!pointer)
        return;
    size_t *block = (size_t *)(void *)((char *)pointer - sizeof(max_align_t));
    json_bytes -= *block;
    free(block);
}

/* Tensors without bytes, named by seven digits: 58 bytes of header each. */
static void many_tensors(int n)
{
    static const char text[] = "," T("0000000", "U8", "[0]", "[0,0]");

    begin();
    bytes_number(&bytes, (uint64_t)n * (sizeof text - 1) + 1, 8);
    for (int i = 0; i < n; i++) {
        bytes_add(&bytes, text, sizeof text - 1);
        uint8_t *digit = bytes.at + bytes.n - (sizeof text - 1) + strlen(",\"0000000");
        for (int left = i; left > 0; left /= 10)
            *--digit = (uint8_t)('0' + left % 10);
    }
    bytes.at[8] = '{';
    bytes_add(&bytes, "}", 1);
}

static long allocations_left;

static void *failing_malloc(size_t n)
{
    return allocations_left-- > 0 ? malloc(n) : NULL;
}

/* The leak reports of the sanitizers and of valgrind show whether memory is left. */
START_TEST(failing_allocations)
{
    safetensors_sample();
    int r = -ENOMEM;

    json_set_alloc_funcs(failing_malloc, free);
    for (long n = 0; n < 2000 && r < 0; n++) {
        allocations_left = n;
        r = bytes_parse(&bytes, &file, &problem);
        ck_assert(r == 0 || r == -ENOMEM);
        ck_assert(r == 0 || !file);
    }
    json_set_alloc_funcs(malloc, free);
    ck_assert_int_eq(r, 0);
}
END_TEST

START_TEST(many_small_tensors)
{
    many_tensors(50000);
    json_set_alloc_funcs(counting_malloc, counting_free);
    int r = bytes_parse(&bytes, &file, &problem);
    json_set_alloc_funcs(malloc, free);
    ck_assert_int_eq(r, 0);
    ck_assert_uint_eq(json_bytes, 0);
    ck_assert_msg(json_bytes_max < 64 << 10, "%zu", json_bytes_max);
    ck_assert_uint_eq(file->n_entries, 50000);
    ck_assert_int_eq(tensor_file_find(file, "0031415"), 31415);

    many_tensors(TENSOR_FILE_TENSORS_MAX + 1);
    ck_assert_int_eq(bytes_parse(&bytes, &file, &problem), -EBADMSG);
    ck_assert_str_eq(problem.message, "names 250001 tensors, more than 250000");
}
END_TEST

START_TEST(a_million_tensors)
{
    many_tensors(1000000);
    ck_assert_int_eq(bytes_parse(&bytes, &file, &problem), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(problem.message, "bytes long, more than 16777216"));
    ck_assert_uint_le(bytes.n_read_max, 16);
}
END_TEST

START_TEST(large_metadata)
{
    size_t n = 2 << 20, used;
    char *header = malloc(n + 200);

    ck_assert_ptr_nonnull(header);
    strcpy(header, "{\"__metadata__\":{");
    used = strlen(header);
    while (used < n)
        used += (size_t)sprintf(header + used, "\"%zx\":\"\",", used);
    strcpy(header + used - 1, "}," T("a", "U8", "[1]", "[0,1]") "}");
    json_bytes_max = 0;
    json_set_alloc_funcs(counting_malloc, counting_free);
    begin_safetensors(header, 1);
    accept();
    json_set_alloc_funcs(malloc, free);
    ck_assert_msg(json_bytes_max < 64 << 10, "%zu", json_bytes_max);
    free(header);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tests = tcase_create("safetensors");

    tcase_add_loop_test(tests, every_dtype, 0, COUNT(dtypes));
    tcase_add_test(tests, contents);
    tcase_add_loop_test(tests, refuses, 0, COUNT(bad));
    tcase_add_test(tests, header_length);
    tcase_add_test(tests, failing_allocations);
    tcase_add_test(tests, many_small_tensors);
    tcase_add_test(tests, a_million_tensors);
    tcase_add_test(tests, large_metadata);
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, NULL, begin);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
