/* Every tensor type and metadata type, and every way in which a table of tensors can be wrong. */
#include "common/formats/gguf.h"
#include "tests/unit/case_step.h"
#include "tests/unit/header_fixture.h"
#include "tests/unit/run_suite.h"

#include <stdio.h>

/* Two rows of `row` elements; sizes from the structs in ggml-common.h, added up by hand. */
static const struct {
    uint32_t number;
    const char *name;
    uint64_t row, bytes;
} types[] = {
    {0, "F32", 3, 24},         {1, "F16", 3, 12},       {2, "Q4_0", 64, 72}, /* 32: half, 16 */
    {3, "Q4_1", 32, 40},                                                     /* 32: 2 halves, 16 */
    {6, "Q5_0", 32, 44},                                                     /* 32: half, 4, 16 */
    {7, "Q5_1", 32, 48},       /* 32: 2 halves, 4, 16 */
    {8, "Q8_0", 32, 68},       /* 32: half, 32 */
    {9, "Q8_1", 32, 72},       /* 32: 2 halves, 32 */
    {10, "Q2_K", 256, 168},    /* 256: 16, 64, 2 halves */
    {11, "Q3_K", 256, 220},    /* 256: 32, 64, 12, half */
    {12, "Q4_K", 512, 576},    /* 256: 2 halves, 12, 128 */
    {13, "Q5_K", 256, 352},    /* 256: 2 halves, 12, 32, 128 */
    {14, "Q6_K", 256, 420},    /* 256: 128, 64, 16, half */
    {15, "Q8_K", 256, 584},    /* 256: float, 256, 16 shorts */
    {16, "IQ2_XXS", 256, 132}, /* 256: half, 32 shorts */
    {17, "IQ2_XS", 256, 148},  /* 256: half, 32 shorts, 8 */
    {18, "IQ3_XXS", 256, 196}, /* 256: half, 96 */
    {19, "IQ1_S", 256, 100},   /* 256: half, 32, 8 shorts */
    {20, "IQ4_NL", 32, 36},    /* 32: half, 16 */
    {21, "IQ3_S", 256, 220},   /* 256: half, 64, 8, 32, 4 */
    {22, "IQ2_S", 256, 164},   /* 256: half, 64, 8, 8 */
    {23, "IQ4_XS", 256, 272},  /* 256: half, short, 4, 128 */
    {24, "I8", 3, 6},          {25, "I16", 3, 12},      {26, "I32", 3, 24},  {27, "I64", 3, 48},
    {28, "F64", 3, 48},        {29, "IQ1_M", 256, 112}, /* 256: 32, 16, 8 */
    {30, "BF16", 3, 12},       {34, "TQ1_0", 256, 108}, /* 256: 48, 4, half */
    {35, "TQ2_0", 256, 132},                            /* 256: 64, half */
    {39, "MXFP4", 32, 34},                              /* 32: 1, 16 */
    {40, "NVFP4", 64, 72},                              /* 64: 4, 32 */
    {41, "Q1_0", 128, 36},                              /* 128: half, 16 */
    {42, "Q2_0", 64, 36},                               /* 64: half, 16 */
};

START_TEST(every_type)
{
    const uint64_t dims[] = {types[_i].row, 2}, ragged[] = {types[_i].row / 2, 4};
    char message[128];
    struct bytes bytes = {0};

    gguf_header(&bytes, 3, 1, 0);
    gguf_tensor(&bytes, "t", 2, dims, types[_i].number, 0);
    gguf_data(&bytes, 32, types[_i].bytes);
    struct tensor_file *file = accept(&bytes);
    const struct tensor_entry *entry = &file->entries[0];
    ck_assert_str_eq(dtype_name(entry->type), types[_i].name);
    ck_assert_uint_eq(entry->bytes, types[_i].bytes);
    ck_assert_uint_eq(entry->n_dims, 2);
    ck_assert_uint_eq(entry->shape[0], 2);
    ck_assert_uint_eq(entry->shape[1], types[_i].row);
    ck_assert_uint_eq(entry->file_offset_bytes, bytes.n);
    tensor_file_free(file);
    free(bytes.at);

    /* As many elements, but each row ends within a block. */
    if (types[_i].row < 32 || types[_i].row == 64 || types[_i].row == 512)
        return;
    bytes = (struct bytes){0};
    gguf_header(&bytes, 3, 1, 0);
    gguf_tensor(&bytes, "t", 2, ragged, types[_i].number, 0);
    gguf_data(&bytes, 32, types[_i].bytes);
    snprintf(message, sizeof message, "rows of %" PRIu64 " elements do not fill whole blocks of %s",
             types[_i].row / 2, types[_i].name);
    refuse(&bytes, "t", message);
}
END_TEST

static const struct {
    uint32_t number;
    const char *message;
} no_types[] = {
    {4, "type Q4_2, which GGUF no longer has"},
    {5, "type Q4_3, which GGUF no longer has"},
    {31, "type Q4_0_4_4, which GGUF no longer has"},
    {32, "type Q4_0_4_8, which GGUF no longer has"},
    {33, "type Q4_0_8_8, which GGUF no longer has"},
    {36, "type IQ4_NL_4_4, which GGUF no longer has"},
    {37, "type IQ4_NL_4_8, which GGUF no longer has"},
    {38, "type IQ4_NL_8_8, which GGUF no longer has"},
    {43, "unknown type 43"},
    {UINT32_MAX, "unknown type 4294967295"},
};

START_TEST(no_type)
{
    struct bytes bytes = {0};

    gguf_header(&bytes, 3, 1, 0);
    gguf_tensor(&bytes, "t", 1, one, no_types[_i].number, 0);
    gguf_data(&bytes, 32, 4096);
    refuse(&bytes, "t", no_types[_i].message);
}
END_TEST

/* One value of every type, alone and in arrays, arrays of arrays included. */
static void add_metadata(struct bytes *bytes)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

    for (uint32_t type = 0; type < COUNT(sizes); type++) {
        if (type == GGUF_STRING || type == GGUF_ARRAY)
            continue;
        gguf_key(bytes, "value", type);
        bytes_number(bytes, 1, sizes[type]);
        gguf_key(bytes, "array", GGUF_ARRAY);
        bytes_number(bytes, type, 4);
        bytes_number(bytes, 3, 8);
        for (int i = 0; i < 3; i++)
            bytes_number(bytes, 1, sizes[type]);
    }
    gguf_key(bytes, "general.architecture", GGUF_STRING);
    gguf_string(bytes, "llama");
    gguf_key(bytes, "tokens", GGUF_ARRAY);
    bytes_number(bytes, GGUF_STRING, 4);
    bytes_number(bytes, 2, 8);
    gguf_string(bytes, "");
    gguf_string(bytes, "<s>");
    gguf_key(bytes, "nested", GGUF_ARRAY);
    bytes_number(bytes, GGUF_ARRAY, 4);
    bytes_number(bytes, 2, 8);
    bytes_number(bytes, GGUF_BOOL, 4);
    bytes_number(bytes, 1, 8);
    bytes_number(bytes, 1, 1);
    bytes_number(bytes, GGUF_STRING, 4);
    bytes_number(bytes, 1, 8);
    gguf_string(bytes, "x");
}
enum { N_METADATA = 2 * 11 + 3 };

static struct bytes sample(uint32_t version)
{
    static const uint64_t matrix[] = {64, 3}, four[] = {2, 3, 4, 5}, empty[] = {0, 7};
    static const char data[1024];
    struct bytes bytes = {0};

    gguf_header(&bytes, version, 5, N_METADATA + 2);
    add_metadata(&bytes);
    gguf_key(&bytes, "general.alignment", GGUF_U32);
    bytes_number(&bytes, 64, 4);
    gguf_key(&bytes, "general.name", GGUF_STRING);
    gguf_string(&bytes, "A model / of mine");
    gguf_tensor(&bytes, "blk.0.w", 2, matrix, 2, 64); /* 108 bytes */
    gguf_tensor(&bytes, "blk.0.b", 4, four, 24, 192); /* 120 bytes */
    gguf_tensor(&bytes, "scalar", 0, NULL, 0, 0);
    gguf_tensor(&bytes, "nothing", 2, empty, 1, 192);
    gguf_tensor(&bytes, "\xc3\xa9", 1, one, 30, 320);
    gguf_data(&bytes, 64, 0);
    bytes_add(&bytes, data, 322);
    return bytes;
}

START_TEST(contents)
{
    static const struct {
        const char *name;
        uint64_t offset, bytes;
    } expected[] = {{"scalar", 0, 4},
                    {"blk.0.w", 64, 108},
                    {"nothing", 192, 0},
                    {"blk.0.b", 192, 120},
                    {"\xc3\xa9", 320, 2}};
    static const uint64_t four[] = {5, 4, 3, 2};
    struct bytes bytes = sample((uint32_t)_i);
    struct tensor_file *file = accept(&bytes);
    uint64_t data = bytes.size_bytes - 322;

    ck_assert_uint_eq(file->n_entries, COUNT(expected));
    for (int i = 0; i < COUNT(expected); i++) {
        ck_assert_str_eq(file->entries[i].name, expected[i].name);
        ck_assert_uint_eq(file->entries[i].file_offset_bytes, data + expected[i].offset);
        ck_assert_uint_eq(file->entries[i].bytes, expected[i].bytes);
    }
    ck_assert_uint_eq(file->entries[3].n_dims, 4);
    ck_assert_mem_eq(file->entries[3].shape, four, sizeof four);
    ck_assert_str_eq(file->model_name, "A model / of mine");
    tensor_file_free(file);
    free(bytes.at);
}
END_TEST

START_TEST(versions)
{
    static const struct {
        uint32_t version;
        const char *message;
    } cases[] = {
        {1, "GGUF version 1, which is obsolete: convert the file"},
        {0x03000000, "big-endian GGUF is not supported"},
        {0x02000000, "big-endian GGUF is not supported"},
        {4, "unknown GGUF version 4"},
        {77777, "unknown GGUF version 77777"},
    };

    for (int i = 0; i < COUNT(cases); i++) {
        struct bytes bytes = sample(cases[i].version);
        refuse(&bytes, "header", cases[i].message);
    }
}
END_TEST

START_TEST(alignments)
{
    struct bytes bytes = {0};
    struct tensor_file *file;

    /* Without: 32. */
    gguf_header(&bytes, 3, 2, 0);
    gguf_tensor(&bytes, "a", 1, one, 24, 0);
    gguf_tensor(&bytes, "b", 1, one, 24, 32);
    gguf_data(&bytes, 32, 33);
    file = accept(&bytes);
    ck_assert_uint_eq(file->entries[0].file_offset_bytes, bytes.n);
    tensor_file_free(file);
    free(bytes.at);

    /* 1: odd offsets, and the data begins at once. */
    bytes = (struct bytes){0};
    gguf_header(&bytes, 3, 2, 1);
    gguf_key(&bytes, "general.alignment", GGUF_U32);
    bytes_number(&bytes, 1, 4);
    gguf_tensor(&bytes, "a", 1, one, 24, 1);
    gguf_tensor(&bytes, "b", 1, one, 24, 0);
    gguf_data(&bytes, 1, 2);
    file = accept(&bytes);
    ck_assert_str_eq(file->entries[0].name, "b");
    ck_assert_uint_eq(file->entries[1].file_offset_bytes, bytes.n + 1);
    tensor_file_free(file);
    free(bytes.at);

    static const struct {
        uint32_t type;
        uint64_t value;
        const char *message;
    } cases[] = {
        {GGUF_U32, 0, "0 is not a power of two"},
        {GGUF_U32, 48, "48 is not a power of two"},
        {GGUF_U64, 32, "must be a 32-bit unsigned integer"},
        {GGUF_STRING, 0, "must be a 32-bit unsigned integer"},
    };
    for (int i = 0; i < COUNT(cases); i++) {
        bytes = (struct bytes){0};
        gguf_header(&bytes, 3, 1, 1);
        gguf_key(&bytes, "general.alignment", cases[i].type);
        bytes_number(&bytes, cases[i].value, cases[i].type == GGUF_U32 ? 4 : 8);
        gguf_tensor(&bytes, "a", 1, one, 24, 0);
        gguf_data(&bytes, 32, 32);
        refuse(&bytes, "general.alignment", cases[i].message);
    }
    bytes = (struct bytes){0};
    gguf_header(&bytes, 3, 1, 2);
    for (int i = 0; i < 2; i++) {
        gguf_key(&bytes, "general.alignment", GGUF_U32);
        bytes_number(&bytes, 32, 4);
    }
    gguf_tensor(&bytes, "a", 1, one, 24, 0);
    gguf_data(&bytes, 32, 32);
    refuse(&bytes, "general.alignment", "stands twice");
}
END_TEST

static struct bytes two_tensors(const char *a, uint64_t n_a, uint64_t at_a, const char *b,
                                uint64_t n_b, uint64_t at_b, uint64_t n_data)
{
    struct bytes bytes = {0};

    gguf_header(&bytes, 3, 2, 0);
    gguf_tensor(&bytes, a, 1, &n_a, 24, at_a);
    gguf_tensor(&bytes, b, 1, &n_b, 24, at_b);
    gguf_data(&bytes, 32, n_data); /* at byte 96 */
    return bytes;
}

START_TEST(ranges)
{
    struct bytes bytes = two_tensors("a", 400, 0, "b", 400, 192, 600);
    refuse(&bytes, "b", "bytes [192, 592) of the data overlap [0, 400) of \"a\"");
    bytes = two_tensors("a", 64, 0, "b", 96, 0, 600);
    refuse(&bytes, "b", "bytes [0, 96) of the data overlap [0, 64) of \"a\"");
    bytes = two_tensors("a", 32, 0, "b", 33, 32, 64);
    refuse(&bytes, "b", "ends at byte 161, but the file has 160");
    bytes = two_tensors("a", 32, 0, "b", 32, UINT64_MAX - 31, 64);
    refuse(&bytes, "b",
           "begins at byte 18446744073709551584 of the data and has 32 bytes: more than 2^64 - 1");
    bytes = two_tensors("a", 32, 0, "b", 0, 128, 64);
    refuse(&bytes, "b", "ends at byte 224, but the file has 160");
    bytes = two_tensors("a", 32, 0, "b", 32, 33, 128);
    refuse(&bytes, "b", "offset 33 is not a multiple of the alignment 32");
    bytes = two_tensors("a", 32, 0, "a", 32, 32, 64);
    refuse(&bytes, "a", "two tensors have this name, at bytes 0 and 32 of the data");

    /* A hole is harmless, and the last padding may be missing. */
    bytes = two_tensors("a", 5, 0, "b", 7, 320, 327);
    tensor_file_free(accept(&bytes));
    free(bytes.at);
}
END_TEST

START_TEST(dimensions)
{
    static const struct {
        uint32_t n_dims;
        uint64_t dims[5];
        uint32_t type;
        const char *message;
    } cases[] = {
        {5, {1, 1, 1, 1, 1}, 24, "5 dimensions, more than 4"},
        {UINT32_MAX, {1}, 24, "4294967295 dimensions, more than 4"},
        {2, {1u << 31, UINT64_C(1) << 33}, 24, "has more than 2^64 - 1 bytes"},
        {4, {65536, 65536, 65536, 65536}, 24, "has more than 2^64 - 1 bytes"},
        {1, {UINT64_C(1) << 62}, 0, "has more than 2^64 - 1 bytes"},
        {1, {UINT64_C(1) << 63}, 24, "a dimension of 9223372036854775808 is too large"},
        {0, {0}, 2, "rows of 1 elements do not fill whole blocks of Q4_0"},
    };

    for (int i = 0; i < COUNT(cases); i++) {
        struct bytes bytes = {0};
        gguf_header(&bytes, 3, 1, 0);
        gguf_tensor(&bytes, "t", cases[i].n_dims > 5 ? 1 : cases[i].n_dims, cases[i].dims,
                    cases[i].type, 0);
        if (cases[i].n_dims > 5)
            memset(bytes.at + 33, 0xff, 4);
        gguf_data(&bytes, 32, 64);
        refuse(&bytes, "t", cases[i].message);
    }
}
END_TEST

START_TEST(tensor_names)
{
    static const struct {
        const char *name, *message;
    } cases[] = {
        {"", "the name has 0 bytes, but must have 1 to 255"},
        {"a\nb", "byte 1 of the name is a control character"},
        {"\xc2\x85", "byte 0 of the name is a control character"},
        {"ab\xc3", "byte 2 of the name is not UTF-8"},
        {"\xed\xa0\x80", "byte 0 of the name is not UTF-8"},
        {"\xc0\xaf", "byte 0 of the name is not UTF-8"},
        {"\xf5\x80\x80\x80", "byte 0 of the name is not UTF-8"},
    };
    char name[DEFINITION_NAME_MAX + 2];
    struct bytes bytes;

    for (int i = 0; i < COUNT(cases); i++) {
        bytes = two_tensors("a", 1, 0, cases[i].name, 1, 32, 64);
        refuse(&bytes, "tensors[1]", cases[i].message);
    }
    memset(name, 'x', sizeof name);
    name[DEFINITION_NAME_MAX] = '\0';
    bytes = two_tensors("a", 1, 0, name, 1, 32, 64);
    tensor_file_free(accept(&bytes));
    free(bytes.at);
    name[DEFINITION_NAME_MAX] = 'x';
    name[DEFINITION_NAME_MAX + 1] = '\0';
    bytes = two_tensors("a", 1, 0, name, 1, 32, 64);
    refuse(&bytes, "tensors[1]", "the name has 256 bytes, but must have 1 to 255");

    /* A NUL inside, and a length that no memory holds. */
    bytes = two_tensors("a", 1, 0, "bxc", 1, 32, 64);
    *(char *)memchr(bytes.at, 'x', bytes.n) = '\0';
    refuse(&bytes, "tensors[1]", "byte 1 of the name is a control character");
    bytes = two_tensors("a", 1, 0, "bxc", 1, 32, 64);
    memset((char *)memchr(bytes.at, 'b', bytes.n) - 8, 0xff, 8);
    refuse(&bytes, "tensors[1]", "the name has 18446744073709551615 bytes, but must have 1 to 255");
}
END_TEST

START_TEST(truncated_everywhere)
{
    struct bytes whole = sample(3);
    struct definition_problem problem;
    struct tensor_file *file = NULL;

    for (size_t n = 0; n < whole.n; n++) {
        struct bytes bytes = {0};
        bytes_add(&bytes, whole.at, n);
        int r = bytes_parse(&bytes, &file, &problem);
        ck_assert_msg(r == -EBADMSG, "%zu bytes: %d", n, r);
        ck_assert_ptr_null(file);
        ck_assert_msg(problem.line == 0 && problem.path[0] && problem.message[0], "%zu bytes", n);
        free(bytes.at);
    }
    free(whole.at);
}
END_TEST

START_TEST(random_mutations)
{
    unsigned seed = test_seed(), state = seed;
    int n_good = 0, n_bad = 0;

    printf("seed %u\n", seed);
    for (int round = 0; round < 5000; round += case_step()) {
        struct bytes bytes = sample(3);
        struct definition_problem problem;
        struct tensor_file *file = NULL;
        mutate(&bytes, &state);
        int r = bytes_parse(&bytes, &file, &problem);
        ck_assert_msg(r == 0 || (r == -EBADMSG && problem.line == 0 && problem.message[0]),
                      "seed %u, round %d: %d", seed, round, r);
        if (r == 0)
            check_tensor_file(file, bytes.size_bytes);
        n_good += r == 0;
        n_bad += r < 0;
        tensor_file_free(file);
        free(bytes.at);
    }
    ck_assert_msg(n_good > 0 && n_bad > 0, "seed %u", seed);
}
END_TEST

START_TEST(reads_fail)
{
    struct bytes bytes = sample(3);
    struct byte_source source = {bytes_read, &bytes, bytes.size_bytes};
    struct definition_problem problem;
    struct tensor_file *file = NULL;
    int n = 0;

    for (;; n++) {
        bytes.n_reads_left = n;
        int r = tensor_file_read(&source, &file, &problem);
        if (r == 0)
            break;
        ck_assert_int_eq(r, -EIO);
        ck_assert_ptr_null(file);
    }
    ck_assert_int_gt(n, 1);
    tensor_file_free(file);
    free(bytes.at);
}
END_TEST

START_TEST(too_many_tensors)
{
    struct bytes bytes = {0};

    gguf_header(&bytes, 3, 0, 0);
    gguf_data(&bytes, 32, 0);
    refuse(&bytes, "header", "names no tensors");
    gguf_header(&bytes, 3, 1000000, 0);
    gguf_data(&bytes, 32, UINT64_C(1) << 40);
    refuse(&bytes, "header", "names 1000000 tensors, more than 250000");
    gguf_header(&bytes, 3, UINT64_MAX, 0);
    gguf_data(&bytes, 32, 0);
    refuse(&bytes, "header", "names 18446744073709551615 tensors, more than 250000");
    /* A claim that the file cannot fulfil takes no memory. */
    gguf_header(&bytes, 3, TENSOR_FILE_TENSORS_MAX, 0);
    gguf_data(&bytes, 32, 0);
    refuse(&bytes, "header", "the file ends at byte 32, inside the header");
}
END_TEST

START_TEST(large_table)
{
    char name[DEFINITION_NAME_MAX + 1];
    struct bytes bytes = {0};

    /* 287 bytes each: the limit lies within the last one. */
    int n = TENSOR_FILE_HEADER_MAX / 287 + 1;
    gguf_header(&bytes, 3, (uint64_t)n, 0);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%0*d", DEFINITION_NAME_MAX, i);
        gguf_tensor(&bytes, name, 1, one, 24, (uint64_t)i * 32);
    }
    gguf_data(&bytes, 32, (uint64_t)n * 32);
    refuse(&bytes, "header", "a table of tensors of more than 16777216 bytes");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gguf");
    TCase *tests = tcase_create("gguf");

    tcase_add_loop_test(tests, every_type, 0, COUNT(types));
    tcase_add_loop_test(tests, no_type, 0, COUNT(no_types));
    tcase_add_loop_test(tests, contents, 2, 4);
    tcase_add_test(tests, versions);
    tcase_add_test(tests, alignments);
    tcase_add_test(tests, ranges);
    tcase_add_test(tests, dimensions);
    tcase_add_test(tests, tensor_names);
    tcase_add_test(tests, truncated_everywhere);
    tcase_add_test(tests, random_mutations);
    tcase_add_test(tests, reads_fail);
    tcase_add_test(tests, too_many_tensors);
    tcase_add_test(tests, large_table);
    tcase_set_timeout(tests, 300);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
