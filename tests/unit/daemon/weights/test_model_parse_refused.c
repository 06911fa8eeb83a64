/* The errors for files that no model can be read from: which file, which place, and why. */
#include "tests/unit/model_parse_fixture.h"
#include "tests/unit/run_suite.h"

#include <jansson.h>

START_TEST(files_that_did_not_come)
{
    refuse(from_text(WEIGHTED), -EBADMSG, "w.safetensors: this weight file did not come");
    refuse(from_file("model.index.json", "m"), -EBADMSG, "1.st: this weight file did not come");
    struct model_source source = from_file("model.index.json", "m");
    add_weights(&source, "1.st", open_file("1.st", O_RDONLY));
    refuse(source, -EBADMSG, "sub/2.st: this weight file did not come");
    source = from_text(WEIGHTED);
    add_weights(&source, "./w.safetensors", open_file("w.safetensors", O_RDONLY));
    refuse(source, -EBADMSG, "did not come");

    ck_assert_int_eq(unlink("sub/w.safetensors"), 0);
    refuse(from_path("sub/model.json"), -EBADMSG, "w.safetensors: there is no such weight file");
    ck_assert_int_eq(unlink("sub/2.st"), 0);
    refuse(from_path("model.index.json"), -EBADMSG, "sub/2.st: there is no such weight file");
    refuse(from_path("nothing.json"), -ENOENT, "open");
    refuse(from_path("../em"), -EBADMSG, "../em: must be a path below model-dir");
    refuse(from_path("fifo"), -EBADMSG, "fifo: must be a regular file");
    /* A weight file beside the definition must not lead out, either. */
    ck_assert_int_eq(symlink("/etc/passwd", "sub/w.safetensors"), 0);
    refuse(from_path("sub/model.json"), -EBADMSG, "symbolic link");
}
END_TEST

START_TEST(tensors_that_do_not_fit)
{
    /* The index names a tensor that the file does not have. */
    write_safetensors("1.st", "{" TENSOR("a", 4, 0, 4) "}", 4);
    struct definition_problem problem =
        refuse(with_shards(from_file("model.index.json", "m")), -EBADMSG, "1.st does not hold");
    ck_assert_str_eq(problem.path, "b");

    /* The same tensor in two files. */
    write_safetensors("1.st", "{" TENSOR("a", 4, 0, 4) "," TENSOR("b", 6, 4, 10) "}", 10);
    write_safetensors("sub/2.st", "{" TENSOR("c", 5, 0, 5) "," TENSOR("a", 1, 5, 6) "}", 6);
    problem = refuse(with_shards(from_file("model.index.json", "m")), -EBADMSG, "two of the");
    ck_assert_str_eq(problem.path, "a");

    /* Another shape than the definition's, or none at all. */
    struct model_source source = from_text(WEIGHTED);
    add_weights(&source, "w.safetensors", open_file("sub/2.st", O_RDONLY));
    problem = refuse(source, -EBADMSG, "");
    ck_assert_str_eq(problem.path, "layers[0].tensors[0]");
    write_safetensors("w.safetensors", "{" TENSOR("a", 5, 0, 5) "," TENSOR("b", 6, 5, 11) "}", 11);
    problem = refuse(from_path("model.json"), -EBADMSG, "U8 [5]");
    ck_assert_str_eq(problem.path, "layers[1].tensors[0]");
}
END_TEST

START_TEST(bad_headers_name_the_file)
{
    write_safetensors("w.safetensors", "{" TENSOR("a", 4, 0, 4) "," TENSOR("b", 6, 2, 8) "}", 8);
    struct definition_problem problem =
        refuse(from_path("model.json"), -EBADMSG, "w.safetensors: ");
    ck_assert_str_eq(problem.path, "b");
    problem = refuse(from_path("w.safetensors"), -EBADMSG, "w.safetensors: ");
    ck_assert_str_eq(problem.path, "b");
    write_safetensors("sub/2.st", "{", 0);
    refuse(from_path("model.index.json"), -EBADMSG, "sub/2.st: ");
    write_text("extra", "GGUF");
    refuse(from_path("extra"), -EBADMSG, "extra: ");
    write_text("w.safetensors", "{\"name\":\"no weights\"}");
    refuse(from_path("model.json"), -EBADMSG, "w.safetensors: ");

    /* With the longest possible name the reason is still readable. */
    char path[PATH_MAX];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    problem = refuse(from_fd(open_file("sub/2.st", O_RDONLY), path), -EBADMSG, "xxx: ");
    ck_assert_str_eq(problem.path, "header");
}
END_TEST

START_TEST(not_a_readable_regular_file)
{
    static const struct {
        const char *path;
        int flags;
    } opens[] = {
        {"fifo", O_RDWR},      {"fifo", O_PATH},         {"sub", O_RDONLY | O_DIRECTORY},
        {"/dev/null", O_RDWR}, {"/dev/zero", O_RDONLY},  {"1.st", O_WRONLY},
        {"1.st", O_PATH},      {"plain.json", O_WRONLY}, {"plain.json", O_PATH},
    };
    for (int i = 0; i < COUNT(opens); i++) {
        struct definition_problem problem = refuse(
            from_fd(open_file(opens[i].path, opens[i].flags), "m"), -EBADMSG,
            strcmp(opens[i].path, "1.st") && strcmp(opens[i].path, "plain.json") ? "regular"
                                                                                 : "for reading");
        ck_assert_uint_eq(problem.line, 0);
        struct model_source source = from_text(WEIGHTED);
        add_weights(&source, "w.safetensors", open_file(opens[i].path, opens[i].flags));
        refuse(source, -EBADMSG, "w.safetensors: ");
    }
}
END_TEST

START_TEST(sizes_of_text)
{
    struct bytes bytes = {0};

    write_text("extra", "");
    refuse(from_path("extra"), -EBADMSG, "");
    bytes_add(&bytes, "{\"name\":", 8);
    bytes.size_bytes = DEFINITION_BYTES_MAX + 1;
    write_file("extra", &bytes);
    refuse(from_path("extra"), -EBADMSG, "16 MiB");
    bytes.size_bytes = UINT64_C(1) << 40;
    write_file("extra", &bytes);
    refuse(from_path("extra"), -EBADMSG, "16 MiB");
    free(bytes.at);
}
END_TEST

/* A message is cut between characters, whatever the names are. */
START_TEST(messages_are_text)
{
    char path[256], text[600];
    for (int n = 90; n < 110; n++) {
        memset(path, 'x', sizeof path);
        for (int i = n; i < n + 20; i += 2)
            memcpy(path + i, "\xc3\xa9", 2);
        path[n + 20] = '\0';
        snprintf(text, sizeof text, "{\"weight_map\":{\"%s\":\"%s\"}}", path, path);
        struct definition_problem problems[4] = {
            refuse(from_text(text), -EBADMSG, ": this weight file did not come"),
            refuse(from_fd(open_file("1.st", O_WRONLY), path), -EBADMSG, "for reading"),
        };
        struct model_source source = from_text(text);
        add_weights(&source, path, open_file("1.st", O_RDONLY));
        problems[2] = refuse(source, -EBADMSG, "does not hold");
        source = from_text(text);
        add_weights(&source, path, open_file("plain.json", O_RDONLY));
        problems[3] = refuse(source, -EBADMSG, ": ");
        for (int i = 0; i < COUNT(problems); i++) {
            json_t *json = json_pack("[s, s]", problems[i].path, problems[i].message);
            ck_assert_msg(json != NULL, "%d: %s", i, problems[i].message);
            json_decref(json);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_parse_refused");
    TCase *tcase = tcase_create("model_parse_refused");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, files_that_did_not_come);
    tcase_add_test(tcase, tensors_that_do_not_fit);
    tcase_add_test(tcase, bad_headers_name_the_file);
    tcase_add_test(tcase, not_a_readable_regular_file);
    tcase_add_test(tcase, sizes_of_text);
    tcase_add_test(tcase, messages_are_text);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
