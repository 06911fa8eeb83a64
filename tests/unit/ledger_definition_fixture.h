/* A definition with weights, and how definitions are written down. */
#pragma once

#include "daemon/restart/ledger_definition.h"
#include "daemon/weights/model_parse.h"
#include "tests/unit/ledger_fixture.h"

enum { FIRST_BYTE = 4096 };

/* As weights in a restart: a temporary file with `n_data` bytes, all of which are a hole. */
static inline int weights_file(const char *header, uint64_t n_data)
{
    struct bytes bytes = safetensors_bytes(header, n_data);
    int fd = memfd_create("weights", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && pwrite(fd, bytes.at, bytes.n, 0) == (ssize_t)bytes.n);
    REQUIRE(ftruncate(fd, (off_t)bytes.size_bytes) == 0);
    free(bytes.at);
    return fd;
}

static inline struct definition *read_source(struct model_source source)
{
    struct model_read_result result;
    int r = model_parse(&source, &result);
    if (r < 0)
        ck_abort_msg("%d: %s: %s", r, result.problem.path, result.problem.message);
    model_source_done(&source);
    return result.definition;
}

static inline struct definition *from_file(void)
{
    static const char header[] =
        "{\"blk.0.a\":{\"dtype\":\"F32\",\"shape\":[3,5],\"data_offsets\":[0,60]},"
        "\"blk.1.a\":{\"dtype\":\"U8\",\"shape\":[20000],\"data_offsets\":[60,20060]},"
        "\"blk.0.b\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[20060,20062]},"
        "\"blk.0.none\":{\"dtype\":\"I64\",\"shape\":[4,0],\"data_offsets\":[20062,20062]},"
        "\"out.w\":{\"dtype\":\"U8\",\"shape\":[2,2,2,2],\"data_offsets\":[20062,20078]}}";
    return read_source(
        (struct model_source){.fd = weights_file(header, 20078), .name = strdup("zw\xc3\xb6lf")});
}

/* A file with the definition, its length in the file, and its checksum. */
static inline int write_down(const struct definition *definition, uint64_t *ret_bytes,
                             uint32_t *ret_crc)
{
    int fd = memfd_create("definition", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ledger_definition_write(fd, FIRST_BYTE, definition, ret_bytes, ret_crc), 0);
    struct stat status;
    ck_assert_int_eq(fstat(fd, &status), 0);
    ck_assert_uint_eq((uint64_t)status.st_size, FIRST_BYTE + *ret_bytes);
    return fd;
}
