/* Verbs with a scripted daemon in a thread: standard error, standard output for programs, and the
 * exit code, for every kind of failure. */
#include "client/emctl/verb.h"
#include "common/error.h"
#include "common/policy_names.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/session_fixture.h"

static const struct {
    const char *error;
    const char *parameters;
    int status;
    const char *says;
} errors[] = {
    {MANAGER "OutOfMemory",
     "{\"requestedBytes\":67108864,\"availableBytes\":1,\"capacityBytes\":52428800,\"layer\":"
     "\"d3\"}",
     EXIT_OUT_OF_MEMORY, "layer d3 needs 64.0 MiB, the arena has 50.0 MiB. Raise capacity="},
    {MANAGER "OutOfMemory", "{\"requestedBytes\":1024,\"capacityBytes\":0}", EXIT_OUT_OF_MEMORY,
     "layer l needs 1.0 KiB"},
    {MANAGER "MustUnload",
     "{\"requestedBytes\":8388608,\"availableBytes\":2097152,\"capacityBytes\":52428800,"
     "\"victims\":[{\"model\":\"a\",\"layer\":\"0\"},{\"model\":\"a\",\"layer\":\"1\"},"
     "{\"model\":\"a\",\"layer\":\"2\"},{\"model\":\"a\",\"layer\":\"3\"}],\"victimsTotal\":2000}",
     EXIT_MUST_UNLOAD, "2000 layers would have to be evicted: a/0, a/1, a/2 and 1997 more. "},
    {MANAGER "Busy", "{\"leases\":[{\"model\":\"a\",\"layer\":\"0\"}],\"leasesTotal\":1}",
     EXIT_BUSY, "layer a/0 is in use. "},
    {MANAGER "NotFound", "{\"kind\":\"layer\",\"name\":\"l\"}", EXIT_NOT_FOUND,
     "model m has no layer l."},
    {MANAGER "NotFound", "{\"kind\":\"model\",\"name\":\"m\"}", EXIT_NOT_FOUND,
     "there is no model m."},
    {MANAGER "AlreadyLoaded", "{\"model\":\"m\"}", EXIT_ALREADY_LOADED, "model m is known already"},
    {MANAGER "InvalidDefinition", "{\"line\":3,\"column\":7,\"path\":\"\",\"message\":\"oops\"}",
     EXIT_INVALID_DEFINITION, ":3:7: oops\n"},
    {MANAGER "InvalidDefinition",
     "{\"line\":0,\"column\":0,\"path\":\"layers[3].in_features\",\"message\":\"oops\"}",
     EXIT_INVALID_DEFINITION, ": layers[3].in_features: oops\n"},
    {MANAGER "SourceChanged", "{\"path\":\"w.gguf\"}", EXIT_OTHER, "file w.gguf has changed"},
    {MANAGER "SourceChanged", "{\"path\":\"m\"}", EXIT_OTHER, "the weight file of m has changed"},
    {MANAGER "SourceChanged", "{}", EXIT_OTHER, "the weight file of m has changed"},
    {MANAGER "LimitExceeded", "{\"limit\":\"models\",\"maximum\":1024}", EXIT_OTHER,
     "at most 1024 (models)"},
    {MANAGER "IOFailed", "{\"operation\":\"pread\",\"errnoName\":\"EIO\"}", EXIT_OTHER,
     "failed to pread: Input/output error (EIO)"},
    {SERVICE "PermissionDenied", "{}", EXIT_PERMISSION_DENIED, "admin-group="},
    {SERVICE "InvalidParameter", "{\"parameter\":\"layer\"}", EXIT_OTHER, "parameter layer"},
    {SERVICE "MethodNotFound", "{\"method\":\"x\"}", EXIT_OTHER, "another version"},
    {"com.example.Odd", "{\"a\":1}", EXIT_OTHER, "com.example.Odd {\"a\":1}"},
    /* Parameters that are missing, of the wrong type, or meant for the terminal. */
    {MANAGER "OutOfMemory", "{}", EXIT_OUT_OF_MEMORY, "out of memory"},
    {MANAGER "MustUnload", "{\"victims\":3,\"victimsTotal\":-1}", EXIT_MUST_UNLOAD, "must unload"},
    {MANAGER "MustUnload", "{\"victims\":[3,null,{}],\"victimsTotal\":3}", EXIT_MUST_UNLOAD, "?/?"},
    {MANAGER "Busy", "{\"leases\":{}}", EXIT_BUSY, "busy"},
    {MANAGER "NotFound", "{\"kind\":1,\"name\":[]}", EXIT_NOT_FOUND, "there is no"},
    {MANAGER "NotFound", "{\"kind\":\"model\",\"name\":\"\\u001b[2J\"}", EXIT_NOT_FOUND,
     "no model \\u001b[2J."},
    {"com.example.\\u001b[31mOdd", "{\"\\u001b\":\"\\u009b\"}", EXIT_OTHER, "\\u001b[31mOdd"},
};

START_TEST(error_replies)
{
    const struct arguments arguments = {.operands = {"m", "l"}, .n_operands = 2};
    char answer[TEXT_MAX];
    struct daemon daemon = {.answer = answer};

    snprintf(answer, sizeof answer, "{\"error\":\"%s\",\"parameters\":%s}", errors[_i].error,
             errors[_i].parameters);
    ck_assert_int_eq(run(verb_load_layer, arguments, &daemon), errors[_i].status);
    ck_assert_str_eq(out, "");
    ck_assert_msg(strstr(err, errors[_i].says), "%s", err);
    ck_assert_ptr_null(strchr(err, '\x1b'));
    ck_assert_ptr_eq(strchr(err, '\n'), err + strlen(err) - 1); /* one line */
}
END_TEST

START_TEST(error_reply_as_json)
{
    const struct arguments arguments = {.operands = {"m"}, .n_operands = 1, .json = true};
    struct daemon daemon = {.answer = "{\"error\":\"" MANAGER "NotFound\",\"parameters\":"
                                      "{\"kind\":\"model\",\"name\":\"m\"}}"};

    ck_assert_int_eq(run(verb_unload_model, arguments, &daemon), EXIT_NOT_FOUND);
    ck_assert_str_eq(out, "{\"error\":\"" MANAGER "NotFound\",\"parameters\":"
                          "{\"kind\":\"model\",\"name\":\"m\"}}\n");
    ck_assert_ptr_nonnull(strstr(err, "there is no model m."));
}
END_TEST

START_TEST(no_daemon)
{
    const struct arguments arguments = {0};

    ck_assert_int_eq(unlink(address.sun_path), 0);
    ck_assert_int_eq(run(verb_stats, arguments, NULL), EXIT_NO_DAEMON);
    ck_assert_ptr_nonnull(strstr(err, address.sun_path));
    ck_assert_ptr_nonnull(strstr(err, "systemctl start edgemindd"));
    /* It is not an error if no daemon answers. */
    ck_assert_int_eq(run(verb_version, arguments, NULL), EXIT_DONE);
    ck_assert_str_eq(out, "emctl " EDGEMIND_VERSION "\n");
}
END_TEST

START_TEST(hangs_up)
{
    struct daemon daemon = {.answer = NULL};

    ck_assert_int_eq(run(verb_reset, (struct arguments){0}, &daemon), EXIT_NO_DAEMON);
    ck_assert_ptr_nonnull(strstr(err, "hung up"));
}
END_TEST

START_TEST(talks_rubbish)
{
    struct daemon daemon = {.answer = "HTTP/1.1 400 Bad Request\r\n"};

    ck_assert_int_eq(run(verb_reset, (struct arguments){0}, &daemon), EXIT_OTHER);
    ck_assert_ptr_nonnull(strstr(err, "no Varlink reply"));
    daemon = (struct daemon){.answer = "{\"parameters\":{\"evicted\":\"six\"}}"};
    ck_assert_int_eq(run(verb_reset, (struct arguments){0}, &daemon), EXIT_OTHER);
    ck_assert_ptr_nonnull(strstr(err, "not what io.edgemind.manager describes"));
    ck_assert_str_eq(out, "");
}
END_TEST

/* Ctrl-C during a load: emctl closes the connection, reports it, and exits by itself. */
START_TEST(interrupted_load)
{
    const struct arguments arguments = {.operands = {"m", "l"}, .n_operands = 2};
    struct daemon daemon = {.interrupt = true};

    ck_assert_int_eq(run(verb_load_layer, arguments, &daemon), EXIT_INTERRUPTED);
    ck_assert(daemon.hung_up);
    ck_assert_ptr_nonnull(strstr(err, "interrupted"));
    ck_assert_str_eq(out, "");
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    ck_assert(!sigismember(&blocked, SIGINT));
}
END_TEST

START_TEST(calls)
{
    struct daemon daemon = {.answer = "{\"parameters\":{\"hit\":false,\"bytes\":5,"
                                      "\"mustUnload\":false,\"evicted\":0}}"};
    struct arguments arguments = {.operands = {"m", "l"}, .n_operands = 2, .on_full = "ask"};

    ck_assert_int_eq(run(verb_load_layer, arguments, &daemon), EXIT_DONE);
    ck_assert_str_eq(daemon.call, "{\"method\":\"" MANAGER "LoadLayer\",\"parameters\":"
                                  "{\"model\":\"m\",\"layer\":\"l\",\"onFull\":\"ask\"}}");
    ck_assert_str_eq(out, "m/l: 5 B loaded\n");

    arguments = (struct arguments){.operands = {"m", "\xff"}, .n_operands = 2};
    ck_assert_int_eq(run(verb_unload_layer, arguments, NULL), EXIT_USAGE);
    ck_assert_ptr_nonnull(strstr(err, "UTF-8"));
    arguments = (struct arguments){.operands = {"fifo"}, .n_operands = 1};
    ck_assert_int_eq(run(verb_set_policy, arguments, NULL), EXIT_USAGE);
    ck_assert_ptr_nonnull(strstr(err, POLICY_NAMES(", ", " and ")));
}
END_TEST

#define LAYER(name)                                                                               \
    "{\"name\":\"" name "\",\"state\":\"absent\",\"bytes\":4,\"footprintBytes\":0,\"extents\":0," \
    "\"tensors\":1}"
#define LAYERS \
    "{\"models\":[],\"layers\":[" LAYER("a") "," LAYER("\u202e") "],\"tensors\":[],\"total\":2}"
#define TENSOR_LIST                                                                              \
    "{\"models\":[],\"layers\":[],\"tensors\":[{\"name\":\"t\",\"dtype\":\"F32\",\"shape\":[1]," \
    "\"offset\":0,\"bytes\":4}],\"total\":1}"

START_TEST(list_of_tensors)
{
    struct arguments arguments = {.operands = {"m"}, .n_operands = 1, .tensors = true};
    struct daemon daemon = {
        .answer = "{\"parameters\":" LAYERS "}",
        .further = {"{\"parameters\":" TENSOR_LIST "}", "{\"parameters\":" TENSOR_LIST "}"}};

    ck_assert_int_eq(run(verb_list, arguments, &daemon), EXIT_DONE);
    ck_assert_str_eq(daemon.call, "{\"method\":\"" MANAGER "List\",\"parameters\":{\"model\":\"m\","
                                  "\"layer\":\"\u202e\"},\"more\":true}");
    ck_assert_str_eq(out, "LAYER / TENSOR DTYPE SHAPE SIZE\n"
                          "a                           4 B\n"
                          "  t            F32       1  4 B\n"
                          "\\u202e                      4 B\n"
                          "  t            F32       1  4 B\n");
    arguments.json = true;
    ck_assert_int_eq(run(verb_list, arguments, &daemon), EXIT_DONE);
    ck_assert_str_eq(out, LAYERS "\n" TENSOR_LIST "\n" TENSOR_LIST "\n");

    daemon = (struct daemon){.answer = "{\"parameters\":{\"layers\":[{}]}}"};
    arguments.json = false;
    ck_assert_int_eq(run(verb_list, arguments, &daemon), EXIT_OTHER);
    daemon = (struct daemon){.answer = "{}"};
    ck_assert_int_eq(run(verb_list, arguments, &daemon), EXIT_OTHER);
    ck_assert_int_eq(run(verb_list, (struct arguments){.tensors = true}, NULL), EXIT_USAGE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tests = tcase_create("session");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, error_replies, 0, (int)(sizeof errors / sizeof *errors));
    tcase_add_test(tests, error_reply_as_json);
    tcase_add_test(tests, no_daemon);
    tcase_add_test(tests, hangs_up);
    tcase_add_test(tests, talks_rubbish);
    tcase_add_test(tests, interrupted_load);
    tcase_add_test(tests, calls);
    tcase_add_test(tests, list_of_tensors);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
