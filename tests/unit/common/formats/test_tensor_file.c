/* Tests of every format: its first bytes are recognised; a truncated, changed or unreadable header
 * is never accepted as another one, and nothing leaks. */
#include "common/formats/tensor_format.h"
#include "tests/unit/case_step.h"
#include "tests/unit/header_fixture.h"
#include "tests/unit/run_suite.h"

#include <fcntl.h>
#include <stdio.h>

static void gguf_sample_3(void)
{
    gguf_sample(3);
}

/* Each makes a valid file. */
static void (*const samples[])(void) = {gguf_sample_3, safetensors_sample};

START_TEST(truncated_everywhere)
{
    samples[_i]();
    accept();
    struct bytes whole = {0};
    bytes_add(&whole, bytes.at, bytes.n);
    for (size_t n = 0; n < whole.n; n++) {
        begin();
        bytes_add(&bytes, whole.at, n);
        int r = bytes_parse(&bytes, &file, &problem);
        ck_assert_msg(r == -EBADMSG, "%zu bytes: %d", n, r);
        ck_assert_ptr_null(file);
        ck_assert_msg(problem.line == 0 && problem.path[0] && problem.message[0], "%zu bytes", n);
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
        samples[_i]();
        mutate(&bytes, &state);
        int r = bytes_parse(&bytes, &file, &problem);
        ck_assert_msg(r == 0 || (r == -EBADMSG && problem.line == 0 && problem.message[0]),
                      "seed %u, round %d: %d", seed, round, r);
        if (r == 0)
            check_tensor_file(file, bytes.size_bytes);
        n_good += r == 0;
        n_bad += r < 0;
    }
    ck_assert_msg(n_good > 0 && n_bad > 0, "seed %u", seed);
}
END_TEST

START_TEST(reads_fail)
{
    samples[_i]();
    struct byte_source source = {bytes_read, &bytes, bytes.size_bytes};
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
}
END_TEST

static void check_format(const char *text, size_t n, enum tensor_format expected)
{
    enum tensor_format format = 77;

    begin();
    bytes.n_reads_left = -1;
    bytes_add(&bytes, text, n);
    struct byte_source source = {bytes_read, &bytes, bytes.n};
    ck_assert_int_eq(tensor_format_detect(&source, &format), 0);
    ck_assert_int_eq(format, expected);
}

START_TEST(detection)
{
    check_format("", 0, TENSOR_FORMAT_NONE);
    check_format("{", 1, TENSOR_FORMAT_NONE);
    check_format("{\"name\": \"x\", \"layers\": []}", 27, TENSOR_FORMAT_NONE);
    check_format("        {}", 10, TENSOR_FORMAT_NONE);
    check_format("GGU", 3, TENSOR_FORMAT_NONE);
    check_format("GGUF", 4, TENSOR_FORMAT_GGUF);
    check_format("GGUF\3\0\0\0", 8, TENSOR_FORMAT_GGUF);
    check_format("\x10\0\0\0\0\0\0\0{}", 10, TENSOR_FORMAT_SAFETENSORS);
    check_format("\0\0\0\0\0\0\0\x80{}", 10, TENSOR_FORMAT_SAFETENSORS);
    check_format("\x10\0\0\0", 4, TENSOR_FORMAT_SAFETENSORS);
    check_format("PK\3\4\0\0\0\0\0\0", 10, TENSOR_FORMAT_NONE);
}
END_TEST

START_TEST(descriptor)
{
    char path[] = "/tmp/edgemind-test-XXXXXX";
    char byte;

    safetensors_sample();
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_eq(write(fd, bytes.at, bytes.n), (int)bytes.n);
    struct byte_source source = {byte_source_pread, &fd, bytes.n};
    ck_assert_int_eq(tensor_file_read(&source, &file, &problem), 0);
    ck_assert_uint_eq(file->n_entries, 4);
    tensor_file_free(file);
    file = NULL;

    /* The file is now shorter than when its size was read. */
    ck_assert_int_eq(ftruncate(fd, 100), 0);
    ck_assert_int_eq(tensor_file_read(&source, &file, &problem), -EIO);
    close(fd);
    ck_assert_int_eq(byte_source_pread(&fd, 0, &byte, 1), -EBADF);
    ck_assert_ptr_null(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tensor_file");
    TCase *tests = tcase_create("tensor_file");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, NULL, begin);
    tcase_add_loop_test(tests, truncated_everywhere, 0, COUNT(samples));
    tcase_add_loop_test(tests, random_mutations, 0, COUNT(samples));
    tcase_add_loop_test(tests, reads_fail, 0, COUNT(samples));
    tcase_add_test(tests, detection);
    tcase_add_test(tests, descriptor);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
