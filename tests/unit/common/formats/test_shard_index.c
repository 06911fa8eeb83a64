/* Distinguishing an index from a definition, and the files that an index names. */
#include "common/formats/shard_index.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

START_TEST(detects)
{
    static const struct {
        const char *text;
        bool is_index;
    } texts[] = {
        {"{\"weight_map\":{\"a\":\"b\"}}", true},
        {"{\"metadata\":{},\"weight_map\":{}}", true},
        {"{\"weight_map\":7}",
         true}, /* an invalid index: this message is better than one about a definition */
        {"{\"name\":\"m\",\"layers\":[]}", false},
        {"{\"name\":\"m\",\"layers\":[],\"weight_map\":{}}", false},
        {"{\"name\":\"weight_map\",\"layers\":[]}", false},
        {"{\"metadata\":{\"weight_map\":{\"a\":\"b\"}}}", false},
        {"{\"weight_map\":{\"a\":\"b\"}", false},
        {"[\"weight_map\"]", false},
        {"\"weight_map\"", false},
        {"{}", false},
        {"", false},
    };
    for (unsigned i = 0; i < COUNT(texts); i++)
        ck_assert_msg(shard_index_detect(texts[i].text, strlen(texts[i].text)) == texts[i].is_index,
                      "%s", texts[i].text);
    /* It reads no more than the given bytes. */
    const char *text = texts[0].text;
    ck_assert(!shard_index_detect(text, strlen(text) - 1));
    ck_assert(!shard_index_detect(text, 5));
}
END_TEST

START_TEST(files_in_order_of_appearance)
{
    static const char text[] = "{\"metadata\":{\"total_size\":5},\"more\":null,\"weight_map\":{"
                               "\"z\":\"2.safetensors\",\"a\":\"1.safetensors\",\"y\":"
                               "\"2.safetensors\",\"b\":\"sub/3.safetensors\"}}";
    static const char *const files[] = {"2.safetensors", "1.safetensors", "sub/3.safetensors"};
    struct definition_problem problem;
    struct shard_index index;

    ck_assert_int_eq(shard_index_parse(text, sizeof text - 1, &index, &problem), 0);
    ck_assert_uint_eq(index.n_files, COUNT(files));
    for (unsigned i = 0; i < COUNT(files); i++)
        ck_assert_str_eq(index.files[i], files[i]);
    ck_assert_uint_eq(json_object_size(index.weight_map), 4);
    shard_index_done(&index);
    ck_assert_ptr_null(index.root);
    shard_index_done(&index);
}
END_TEST

static void refuse(const char *text, struct definition_problem *problem)
{
    struct shard_index index = {0};
    memset(problem, 0x55, sizeof *problem);
    ck_assert_msg(shard_index_parse(text, strlen(text), &index, problem) == -EBADMSG, "%s", text);
    ck_assert_ptr_null(index.root);
    ck_assert_ptr_nonnull(memchr(problem->message, '\0', sizeof problem->message));
    ck_assert_str_ne(problem->message, "");
}

START_TEST(refuses)
{
    static const struct {
        const char *text, *path;
    } texts[] = {
        {"{}", "weight_map"},
        {"{\"weight_map\":{}}", "weight_map"},
        {"{\"weight_map\":[\"a\"]}", "weight_map"},
        {"{\"weight_map\":null}", "weight_map"},
        {"{\"weight_map\":{\"t\":1}}", "weight_map.t"},
        {"{\"weight_map\":{\"t\":[\"f\"]}}", "weight_map.t"},
        {"{\"weight_map\":{\"s\":\"f\",\"t\":\"\"}}", "weight_map.t"},
        {"{\"weight_map\":{\"t\":\"/etc/passwd\"}}", "weight_map.t"},
        {"{\"weight_map\":{\"t\":\"../f\"}}", "weight_map.t"},
        {"{\"weight_map\":{\"t\":\"a/../f\"}}", "weight_map.t"},
        {"{\"weight_map\":{\"t\":\"a/..\"}}", "weight_map.t"},
    };
    struct definition_problem problem;

    for (unsigned i = 0; i < COUNT(texts); i++) {
        refuse(texts[i].text, &problem);
        ck_assert_str_eq(problem.path, texts[i].path);
        ck_assert_uint_eq(problem.line, 0);
    }
    refuse("{\"weight_map\":{\n\"t\":\"f\",\n\"t\":\"g\"}}", &problem);
    ck_assert_uint_eq(problem.line, 3);
    refuse("{\"weight_map\":\n{]}", &problem);
    ck_assert_uint_eq(problem.line, 2);
    ck_assert_uint_gt(problem.column, 0);
    ck_assert_str_eq(problem.path, "");
    refuse("{\"weight_map\":{\"t\":\"f\\u0000g\"}}", &problem);
    ck_assert_uint_eq(problem.line, 1);
    refuse("", &problem);
}
END_TEST

/* An index of `n_tensors` tensors in as many files. */
static char *many(unsigned n_tensors, const char *file)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);
    ck_assert_ptr_nonnull(stream);
    fputs("{\"weight_map\":{", stream);
    for (unsigned i = 0; i < n_tensors; i++)
        fprintf(stream, "%s\"%u\":\"%s%u\"", i ? "," : "", i, file, file[0] == '=' ? 0 : i);
    fputs("}}", stream);
    ck_assert_int_eq(fclose(stream), 0);
    return text;
}

START_TEST(limits)
{
    struct definition_problem problem;
    struct shard_index index;

    char *text = many(SHARD_INDEX_FILES_MAX, "f");
    ck_assert_int_eq(shard_index_parse(text, strlen(text), &index, &problem), 0);
    ck_assert_uint_eq(index.n_files, SHARD_INDEX_FILES_MAX);
    shard_index_done(&index);
    free(text);

    text = many(SHARD_INDEX_FILES_MAX + 1, "f");
    refuse(text, &problem);
    ck_assert_str_eq(problem.path, "weight_map.240");
    free(text);

    /* Many tensors in one file are valid, but a million is not. */
    text = many(250000, "=");
    ck_assert_int_eq(shard_index_parse(text, strlen(text), &index, &problem), 0);
    ck_assert_uint_eq(index.n_files, 1);
    shard_index_done(&index);
    free(text);
    text = many(1000000, "=");
    refuse(text, &problem);
    free(text);
}
END_TEST

/* Truncated and changed texts are refused or accepted, and never read beyond their end. */
START_TEST(every_prefix)
{
    static const char text[] = "{\"weight_map\":{\"a\":\"f\",\"b\":\"sub/g\"}}";
    struct definition_problem problem;
    struct shard_index index;

    for (size_t n = 0; n < sizeof text - 1; n++) {
        char *copy = malloc(n ? n : 1); /* exactly as long, for sanitizers */
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, text, n);
        ck_assert(!shard_index_detect(copy, n));
        ck_assert_int_eq(shard_index_parse(copy, n, &index, &problem), -EBADMSG);
        free(copy);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shard_index");
    TCase *tcase = tcase_create("shard_index");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, detects);
    tcase_add_test(tcase, files_in_order_of_appearance);
    tcase_add_test(tcase, refuses);
    tcase_add_test(tcase, limits);
    tcase_add_test(tcase, every_prefix);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
