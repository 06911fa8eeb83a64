/* The bytes of a weight file's header that a test writes, and the result of reading them. The
 * fixture frees both. */
#pragma once

#include "tests/unit/weight_bytes.h"

static struct bytes bytes;
static struct tensor_file *file;
static struct definition_problem problem;

/* Nothing written, nothing read. */
static inline void begin(void)
{
    free(bytes.at);
    bytes = (struct bytes){0};
    tensor_file_free(file);
    file = NULL;
}

static inline void begin_gguf(uint32_t version, uint64_t n_tensors, uint64_t n_metadata)
{
    begin();
    gguf_header(&bytes, version, n_tensors, n_metadata);
}

static inline void begin_safetensors(const char *header, uint64_t n_data)
{
    begin();
    bytes = safetensors_bytes(header, n_data);
}

static inline void accept(void)
{
    tensor_file_free(file);
    file = NULL;
    int r = bytes_parse(&bytes, &file, &problem);
    ck_assert_msg(r == 0, "%s: %s", problem.path, problem.message);
    check_tensor_file(file, bytes.size_bytes);
}

static inline void refuse(const char *path, const char *message)
{
    ck_assert_int_eq(bytes_parse(&bytes, &file, &problem), -EBADMSG);
    ck_assert_ptr_null(file);
    ck_assert_uint_eq(problem.line, 0);
    ck_assert_uint_eq(problem.column, 0);
    ck_assert_str_eq(problem.message, message);
    ck_assert_str_eq(problem.path, path);
}

/* A valid GGUF file with one value of every type, alone and in arrays, arrays of arrays included.
 */
static inline void add_metadata(void)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

    for (uint32_t type = 0; type < COUNT(sizes); type++) {
        if (type == GGUF_STRING || type == GGUF_ARRAY)
            continue;
        gguf_key(&bytes, "value", type);
        bytes_number(&bytes, 1, sizes[type]);
        gguf_array(&bytes, "array", type, 3);
        for (int i = 0; i < 3; i++)
            bytes_number(&bytes, 1, sizes[type]);
    }
    gguf_key(&bytes, "general.architecture", GGUF_STRING);
    gguf_string(&bytes, "llama");
    gguf_array(&bytes, "tokens", GGUF_STRING, 2);
    gguf_string(&bytes, "");
    gguf_string(&bytes, "<s>");
    gguf_array(&bytes, "nested", GGUF_ARRAY, 2);
    gguf_elements(&bytes, GGUF_BOOL, 1);
    bytes_number(&bytes, 1, 1);
    gguf_elements(&bytes, GGUF_STRING, 1);
    gguf_string(&bytes, "x");
}
enum { N_METADATA = 2 * 11 + 3, N_SAMPLE_DATA = 322 };

static inline void gguf_sample(uint32_t version)
{
    static const uint64_t matrix[] = {64, 3}, four[] = {2, 3, 4, 5}, empty[] = {0, 7}, one = 1;
    static const char data[N_SAMPLE_DATA];

    begin_gguf(version, 5, N_METADATA + 2);
    add_metadata();
    gguf_key(&bytes, "general.alignment", GGUF_U32);
    bytes_number(&bytes, 64, 4);
    gguf_key(&bytes, "general.name", GGUF_STRING);
    gguf_string(&bytes, "A model / of mine");
    gguf_tensor(&bytes, "blk.0.w", 2, matrix, 2, 64); /* 108 bytes */
    gguf_tensor(&bytes, "blk.0.b", 4, four, 24, 192); /* 120 bytes */
    gguf_tensor(&bytes, "scalar", 0, NULL, 0, 0);
    gguf_tensor(&bytes, "nothing", 2, empty, 1, 192);
    gguf_tensor(&bytes, "\xc3\xa9", 1, &one, 30, 320);
    gguf_data(&bytes, 64, 0);
    bytes_add(&bytes, data, sizeof data);
}

#define T(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* A valid safetensors file with all that the format has. */
static inline void safetensors_sample(void)
{
    static const char data[37];

    /* clang-format off */
    begin_safetensors("{\"__metadata__\":{\"format\":\"pt\",\"note\":\"\\\"}\"},"
                      T("a.0", "F32", "[2,2]", "[0,16]") ","
                      T("a.1", "BF16", "[10]", "[16,36]") ","
                      T("z", "U8", "[0]", "[36,36]") ","
                      T("\xc3\xa9", "U8", "[]", "[36,37]") "}   ", 0);
    /* clang-format on */
    bytes_add(&bytes, data, sizeof data);
}
