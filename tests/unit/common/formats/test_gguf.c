/* Every tensor type and metadata type, and every way in which a table of tensors can be wrong. */
#include "common/formats/gguf.h"
#include "tests/unit/header_fixture.h"
#include "tests/unit/run_suite.h"

#include <stdio.h>

static const uint64_t one[] = {1};

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

    begin_gguf(3, 1, 0);
    gguf_tensor(&bytes, "t", 2, dims, types[_i].number, 0);
    gguf_data(&bytes, 32, types[_i].bytes);
    accept();
    const struct tensor_entry *entry = &file->entries[0];
    ck_assert_str_eq(dtype_name(entry->type), types[_i].name);
    ck_assert_uint_eq(entry->bytes, types[_i].bytes);
    ck_assert_uint_eq(entry->n_dims, 2);
    ck_assert_uint_eq(entry->shape[0], 2);
    ck_assert_uint_eq(entry->shape[1], types[_i].row);
    ck_assert_uint_eq(entry->file_offset_bytes, bytes.n);

    /* As many elements, but each row ends within a block. */
    if (types[_i].row < 32 || types[_i].row == 64 || types[_i].row == 512)
        return;
    begin_gguf(3, 1, 0);
    gguf_tensor(&bytes, "t", 2, ragged, types[_i].number, 0);
    gguf_data(&bytes, 32, types[_i].bytes);
    snprintf(message, sizeof message, "rows of %" PRIu64 " elements do not fill whole blocks of %s",
             types[_i].row / 2, types[_i].name);
    refuse("t", message);
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
    begin_gguf(3, 1, 0);
    gguf_tensor(&bytes, "t", 1, one, no_types[_i].number, 0);
    gguf_data(&bytes, 32, 4096);
    refuse("t", no_types[_i].message);
}
END_TEST

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

    gguf_sample((uint32_t)_i);
    accept();
    uint64_t data = bytes.size_bytes - N_SAMPLE_DATA;

    ck_assert_uint_eq(file->n_entries, COUNT(expected));
    for (int i = 0; i < COUNT(expected); i++) {
        ck_assert_str_eq(file->entries[i].name, expected[i].name);
        ck_assert_uint_eq(file->entries[i].file_offset_bytes, data + expected[i].offset);
        ck_assert_uint_eq(file->entries[i].bytes, expected[i].bytes);
    }
    ck_assert_uint_eq(file->entries[3].n_dims, 4);
    ck_assert_mem_eq(file->entries[3].shape, four, sizeof four);
    ck_assert_str_eq(file->model_name, "A model / of mine");
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
        gguf_sample(cases[i].version);
        refuse("header", cases[i].message);
    }
}
END_TEST

START_TEST(alignments)
{
    /* Without: 32. */
    begin_gguf(3, 2, 0);
    gguf_tensor(&bytes, "a", 1, one, 24, 0);
    gguf_tensor(&bytes, "b", 1, one, 24, 32);
    gguf_data(&bytes, 32, 33);
    accept();
    ck_assert_uint_eq(file->entries[0].file_offset_bytes, bytes.n);

    /* 1: odd offsets, and the data begins at once. */
    begin_gguf(3, 2, 1);
    gguf_key(&bytes, "general.alignment", GGUF_U32);
    bytes_number(&bytes, 1, 4);
    gguf_tensor(&bytes, "a", 1, one, 24, 1);
    gguf_tensor(&bytes, "b", 1, one, 24, 0);
    gguf_data(&bytes, 1, 2);
    accept();
    ck_assert_str_eq(file->entries[0].name, "b");
    ck_assert_uint_eq(file->entries[1].file_offset_bytes, bytes.n + 1);

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
        begin_gguf(3, 1, 1);
        gguf_key(&bytes, "general.alignment", cases[i].type);
        bytes_number(&bytes, cases[i].value, cases[i].type == GGUF_U32 ? 4 : 8);
        gguf_tensor(&bytes, "a", 1, one, 24, 0);
        gguf_data(&bytes, 32, 32);
        refuse("general.alignment", cases[i].message);
    }
    begin_gguf(3, 1, 2);
    for (int i = 0; i < 2; i++) {
        gguf_key(&bytes, "general.alignment", GGUF_U32);
        bytes_number(&bytes, 32, 4);
    }
    gguf_tensor(&bytes, "a", 1, one, 24, 0);
    gguf_data(&bytes, 32, 32);
    refuse("general.alignment", "stands twice");
}
END_TEST

static void two_tensors(const char *a, uint64_t n_a, uint64_t at_a, const char *b, uint64_t n_b,
                        uint64_t at_b, uint64_t n_data)
{
    begin_gguf(3, 2, 0);
    gguf_tensor(&bytes, a, 1, &n_a, 24, at_a);
    gguf_tensor(&bytes, b, 1, &n_b, 24, at_b);
    gguf_data(&bytes, 32, n_data); /* at byte 96 */
}

START_TEST(ranges)
{
    two_tensors("a", 400, 0, "b", 400, 192, 600);
    refuse("b", "bytes [192, 592) of the data overlap [0, 400) of \"a\"");
    two_tensors("a", 64, 0, "b", 96, 0, 600);
    refuse("b", "bytes [0, 96) of the data overlap [0, 64) of \"a\"");
    two_tensors("a", 32, 0, "b", 33, 32, 64);
    refuse("b", "ends at byte 161, but the file has 160");
    two_tensors("a", 32, 0, "b", 32, UINT64_MAX - 31, 64);
    refuse("b",
           "begins at byte 18446744073709551584 of the data and has 32 bytes: more than 2^64 - 1");
    two_tensors("a", 32, 0, "b", 0, 128, 64);
    refuse("b", "ends at byte 224, but the file has 160");
    two_tensors("a", 32, 0, "b", 32, 33, 128);
    refuse("b", "offset 33 is not a multiple of the alignment 32");
    two_tensors("a", 32, 0, "a", 32, 32, 64);
    refuse("a", "two tensors have this name, at bytes 0 and 32 of the data");

    /* A hole is harmless, and the last padding may be missing. */
    two_tensors("a", 5, 0, "b", 7, 320, 327);
    accept();
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
        begin_gguf(3, 1, 0);
        gguf_tensor(&bytes, "t", cases[i].n_dims > 5 ? 1 : cases[i].n_dims, cases[i].dims,
                    cases[i].type, 0);
        if (cases[i].n_dims > 5)
            memset(bytes.at + 33, 0xff, 4);
        gguf_data(&bytes, 32, 64);
        refuse("t", cases[i].message);
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

    for (int i = 0; i < COUNT(cases); i++) {
        two_tensors("a", 1, 0, cases[i].name, 1, 32, 64);
        refuse("tensors[1]", cases[i].message);
    }
    memset(name, 'x', sizeof name);
    name[DEFINITION_NAME_MAX] = '\0';
    two_tensors("a", 1, 0, name, 1, 32, 64);
    accept();
    name[DEFINITION_NAME_MAX] = 'x';
    name[DEFINITION_NAME_MAX + 1] = '\0';
    two_tensors("a", 1, 0, name, 1, 32, 64);
    refuse("tensors[1]", "the name has 256 bytes, but must have 1 to 255");

    /* A NUL inside, and a length that no memory holds. */
    two_tensors("a", 1, 0, "bxc", 1, 32, 64);
    *(char *)memchr(bytes.at, 'x', bytes.n) = '\0';
    refuse("tensors[1]", "byte 1 of the name is a control character");
    two_tensors("a", 1, 0, "bxc", 1, 32, 64);
    memset((char *)memchr(bytes.at, 'b', bytes.n) - 8, 0xff, 8);
    refuse("tensors[1]", "the name has 18446744073709551615 bytes, but must have 1 to 255");
}
END_TEST

START_TEST(too_many_tensors)
{
    begin_gguf(3, 0, 0);
    gguf_data(&bytes, 32, 0);
    refuse("header", "names no tensors");
    begin_gguf(3, 1000000, 0);
    gguf_data(&bytes, 32, UINT64_C(1) << 40);
    refuse("header", "names 1000000 tensors, more than 250000");
    begin_gguf(3, UINT64_MAX, 0);
    gguf_data(&bytes, 32, 0);
    refuse("header", "names 18446744073709551615 tensors, more than 250000");
    /* A size that the file does not have takes no memory. */
    begin_gguf(3, TENSOR_FILE_TENSORS_MAX, 0);
    gguf_data(&bytes, 32, 0);
    refuse("header", "the file ends at byte 32, inside the header");
}
END_TEST

START_TEST(large_table)
{
    char name[DEFINITION_NAME_MAX + 1];

    /* 287 bytes each: the limit is within the last one. */
    int n = TENSOR_FILE_HEADER_MAX / 287 + 1;
    begin_gguf(3, (uint64_t)n, 0);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%0*d", DEFINITION_NAME_MAX, i);
        gguf_tensor(&bytes, name, 1, one, 24, (uint64_t)i * 32);
    }
    gguf_data(&bytes, 32, (uint64_t)n * 32);
    refuse("header", "a table of tensors of more than 16777216 bytes");
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
    tcase_add_test(tests, too_many_tensors);
    tcase_add_test(tests, large_table);
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, NULL, begin);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
