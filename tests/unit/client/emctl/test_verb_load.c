/* How emctl handles the file of load-model or plan. */
#include "client/emctl/verb.h"
#include "common/error.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/session_fixture.h"

/* Puts a file into the directory, returns its path; static storage. */
static const char *put(const char *name, const char *text, size_t n)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    ck_assert_uint_eq(fwrite(text, 1, n, file), n);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

#define GGUF "GGUF\3\0\0\0"

/* A problem names the user's file, not the model's name. */
START_TEST(load_of_weights)
{
    const char *path = put("w.gguf", GGUF, sizeof GGUF - 1);
    struct arguments arguments = {.operands = {path}, .n_operands = 1};
    struct daemon daemon = {.answer = "{\"error\":\"" MANAGER "InvalidDefinition\",\"parameters\":"
                                      "{\"line\":0,\"column\":0,\"path\":\"blk.0.w\",\"message\":"
                                      "\"w: too short\"}}"};
    char expected[256];

    ck_assert_int_eq(run(verb_load_model, arguments, &daemon), EXIT_INVALID_DEFINITION);
    ck_assert_str_eq(daemon.call, "{\"method\":\"" MANAGER "LoadModel\",\"parameters\":"
                                  "{\"definitionFileDescriptor\":0,\"name\":\"w\"}}");
    ck_assert_int_eq(daemon.n_fds, 1);
    snprintf(expected, sizeof expected, "%s: blk.0.w: too short\n", path);
    ck_assert_str_eq(err, expected);

    daemon.answer = "{\"error\":\"" MANAGER "SourceChanged\",\"parameters\":{\"path\":\"n\"}}";
    arguments.name = "n";
    ck_assert_int_eq(run(verb_load_model, arguments, &daemon), EXIT_OTHER);
    ck_assert_ptr_nonnull(strstr(daemon.call, "\"name\":\"n\""));
    snprintf(expected, sizeof expected, "emctl: %s has changed", path);
    ck_assert_ptr_eq(strstr(err, expected), err);
}
END_TEST

START_TEST(load_of_shards)
{
    static const char map[] = "{\"weight_map\":{\"a\":\"w1\",\"b\":\"w2\"}}";
    struct arguments arguments = {.n_operands = 1};
    struct daemon daemon = {.answer = "{\"error\":\"" MANAGER "SourceChanged\",\"parameters\":"
                                      "{\"path\":\"w2\"}}"};

    put("w1", "", 0);
    put("w2", "", 0);
    arguments.operands[0] = put("index", map, sizeof map - 1);
    ck_assert_int_eq(run(verb_load_model, arguments, &daemon), EXIT_OTHER);
    ck_assert_int_eq(daemon.n_fds, 3);
    ck_assert_ptr_nonnull(strstr(daemon.call, "{\"path\":\"w2\",\"fileDescriptor\":2}"));
    ck_assert_ptr_nonnull(strstr(err, "/index: weight file w2 has changed"));

    unlink(put("w2", "", 0));
    put("index", map, sizeof map - 1);
    ck_assert_int_eq(run(verb_load_model, arguments, NULL), EXIT_OTHER);
    ck_assert_ptr_nonnull(
        strstr(err, "/index names the weight file w2, but there is no file /tmp/"));
}
END_TEST

START_TEST(name_of_a_definition)
{
    const struct arguments arguments = {
        .operands = {put("d", "{}", 2)}, .n_operands = 1, .name = "n"};

    ck_assert_int_eq(run(verb_load_model, arguments, NULL), EXIT_USAGE);
    ck_assert_ptr_nonnull(strstr(err, "/d is a definition"));
}
END_TEST

/* Plans of a file, of a model, and of a model whose load would be refused. */
START_TEST(plan)
{
#define PLANNED(n)                                                                                \
    "{\"parameters\":{\"model\":\"m\",\"policy\":\"lru\",\"capacityBytes\":1048576,\"steps\":[]," \
    "\"stepsTotal\":0,\"hits\":0,\"loaded\":0,\"mustUnload\":0,\"outOfMemory\":" #n               \
    ",\"busy\":0,\"evictions\":0,\"flushes\":0,\"resident\":0}}"
    struct arguments arguments = {.operands = {"no-such-file"}, .n_operands = 1};
    struct daemon daemon = {.answer = PLANNED(0)};

    ck_assert_int_eq(run(verb_plan, arguments, &daemon), EXIT_DONE);
    ck_assert_int_eq(daemon.n_fds, 0);
    ck_assert_ptr_nonnull(strstr(daemon.call, "{\"model\":\"no-such-file\"}"));
    ck_assert_str_eq(err, "");
    /* A directory is not a file, but a model may have its name. */
    ck_assert_int_eq(chdir("/tmp"), 0);
    arguments.operands[0] = strrchr(directory, '/') + 1;
    ck_assert_int_eq(run(verb_plan, arguments, &daemon), EXIT_DONE);
    arguments.operands[0] = directory;
    ck_assert_int_eq(run(verb_plan, arguments, NULL), EXIT_OTHER);
    arguments.operands[0] = put("d", "{}", 2);
    daemon.answer = PLANNED(3);
    ck_assert_int_eq(run(verb_plan, arguments, &daemon), EXIT_OUT_OF_MEMORY);
    ck_assert_int_eq(daemon.n_fds, 1);
    ck_assert_ptr_nonnull(strstr(err, "3 layers are larger than the arena's 1.0 MiB"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("verb_load");
    TCase *tests = tcase_create("verb_load");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, load_of_weights);
    tcase_add_test(tests, load_of_shards);
    tcase_add_test(tests, name_of_a_definition);
    tcase_add_test(tests, plan);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
