/* Files that are not models are recognised; models are accepted. */
#include "common/formats/file_kind.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <string.h>

static int read_memory(void *context, uint64_t offset_bytes, void *buffer, size_t n_bytes)
{
    memcpy(buffer, (const char *)context + offset_bytes, n_bytes);
    return 0;
}

static int read_nothing(void *context, uint64_t offset_bytes, void *buffer, size_t n_bytes)
{
    (void)context;
    (void)offset_bytes;
    memset(buffer, 0, n_bytes);
    return -EIO;
}

#define BYTES(text) text, sizeof text - 1

static const struct {
    const char *bytes;
    size_t n_bytes;
    const char *word; /* NULL: not a known kind */
} files[] = {
    {BYTES(""), "empty"},
    {BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:"), "Git LFS pointer"},
    {BYTES("\xef\xbb\xbf \n<!DocType HTML>"), "web page"},
    {BYTES("<html lang=\"en\">"), "web page"},
    {BYTES("<?xml version=\"1.0\"?><Error>"), "web page"},
    {BYTES("lmgg\x98\xca\0\0"), "ggml"},
    {BYTES("tjgg\3\0\0\0"), "ggml"},
    {BYTES("\x1c\0\0\0TFL3\x14\0"), "tflite"},
    {BYTES("\x80\2\x8a\nl\xfc"), "pickle"},
    {BYTES("PK\3\4\0\0"), "PyTorch"},
    {BYTES("\x08\7\x12\7pytorch"), "ONNX"},
    {BYTES("\x89HDF\r\n\x1a\n"), "HDF5"},
    {BYTES("{\"name\":\"m\",\"layers\":[]}"), NULL},
    {BYTES(" \n{"), NULL},
    {BYTES("GGUF\3\0\0\0"), NULL},
    {BYTES("\x08\0\0\0\0\0\0\0{      }"), NULL},
    {BYTES("\x80\2\0\0\0\0\0\0{"), "pickle"}, /* never asked: its header says safetensors */
    {BYTES("lmg"), NULL},
    {BYTES("version https://git-lfs"), NULL},
};

START_TEST(kinds)
{
    struct byte_source source = {read_memory, (void *)(uintptr_t)files[_i].bytes,
                                 files[_i].n_bytes};
    const char *kind;

    ck_assert_int_eq(file_kind_detect(&source, &kind), 0);
    if (files[_i].word)
        ck_assert(kind && strstr(kind, files[_i].word));
    else
        ck_assert_ptr_null(kind);
}
END_TEST

START_TEST(unreadable)
{
    struct byte_source source = {read_nothing, NULL, 100};
    const char *kind;

    ck_assert_int_eq(file_kind_detect(&source, &kind), -EIO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("file_kind");
    TCase *tests = tcase_create("file_kind");

    tcase_add_loop_test(tests, kinds, 0, (int)(sizeof files / sizeof *files));
    tcase_add_test(tests, unreadable);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
