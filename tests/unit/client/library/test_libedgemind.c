/* libedgemind with a scripted daemon: its calls, the results of the answers, and the state after
 * each kind of failure. The answers are sent before the calls, so no thread is needed.
 * test_libedgemind_release tests how leases are given back, test_libedgemind_run the runs, and
 * test_libedgemind_restart the restarts. */
#include "tests/unit/failing_json.h"
#include "tests/unit/played_daemon.h"
#include "tests/unit/run_suite.h"

#include <limits.h>
#include <sys/stat.h>

START_TEST(tensors)
{
    int arena = new_arena(0);
    struct edgemind_layer *layer = acquire_first(arena);
    struct edgemind_tensor tensor;

    ck_assert_uint_eq(edgemind_layer_tensors(layer), 1);
    ck_assert_int_eq(edgemind_layer_tensor(layer, 1, &tensor), -ENOENT);
    ck_assert_int_eq(edgemind_layer_find_tensor(layer, "v", &tensor), -ENOENT);
    ck_assert_int_eq(edgemind_layer_find_tensor(layer, "w", &tensor), 0);
    ck_assert_str_eq(tensor.name, "w");
    ck_assert_str_eq(tensor.dtype, "U8");
    ck_assert_uint_eq(tensor.n_dimensions, 2);
    ck_assert_uint_eq(tensor.shape[1], 3);
    ck_assert_uint_eq(tensor.bytes, 6);
    ck_assert_ptr_eq(tensor.data, (const char *)edgemind_layer_data(layer) + 1);
    ck_assert_str_eq(edgemind_error_text(em), "");
}
END_TEST

/* Each allocation of jansson fails once: the result is an error, and never a crash or a leak. */
START_TEST(out_of_memory)
{
    struct edgemind_layer *layer;
    int arena = new_arena(10), r = -1;

    for (size_t n = 0; r < 0; n++) {
        ck_assert_uint_lt(n, 1000);
        edgemind_free(em);
        hang_up();
        em = edgemind_new();
        ck_assert_int_eq(edgemind_connect(em, address.sun_path), 0);
        server = take_client();
        say_to(server, layer_reply("1", page, 10, WITH_ARENA), arena);
        say(stats_reply());
        say("{}");
        fail_after(n);
        r = edgemind_acquire(em, "m", "l", 1, &layer);
        fail_no_more();
        if (r < 0)
            ck_assert_str_ne(edgemind_error_text(em), "");
    }
    ck_assert_uint_eq(first_byte(layer), 11);
}
END_TEST

static const struct {
    const char *error, *parameters;
    int r;
    const char *text;
} refusals[] = {
#define MANAGER "io.edgemind.manager."
    {MANAGER "OutOfMemory",
     "{\"requestedBytes\":67108864,\"availableBytes\":0,\"capacityBytes\":52428800}", -ENOMEM,
     "out of memory: layer l needs 64.0 MiB, the arena has 50.0 MiB"},
    {MANAGER "MustUnload",
     "{\"requestedBytes\":1024,\"availableBytes\":0,\"capacityBytes\":4096,\"victims\":[{"
     "\"model\":\"a\",\"layer\":\"b\"}],\"victimsTotal\":1}",
     -ENOSPC,
     "must unload: layer l needs 1.0 KiB; of the arena's 4.0 KiB, 0 B is free. 1 layer would have "
     "to be evicted: a/b"},
    {MANAGER "Busy",
     "{\"leases\":[{\"model\":\"a\",\"layer\":\"b\",\"loading\":false,\"user\":\"eve\",\"pid\":9}"
     "],\"leasesTotal\":1}",
     -EBUSY, "busy: layer a/b is held by eve (pid 9)"},
    {MANAGER "NotFound", "{\"kind\":\"layer\",\"name\":\"l\"}", -ENOENT, "model m has no layer l"},
    {MANAGER "AlreadyLoaded", "{\"model\":\"m\"}", -EEXIST, "model m is known already"},
    {MANAGER "InvalidDefinition",
     "{\"line\":0,\"column\":0,\"path\":\"layers[3]\",\"message\":\"oops\"}", -EINVAL,
     "definition: layers[3]: oops"},
    {MANAGER "SourceChanged", "{\"path\":\"w.gguf\"}", -ESTALE,
     "weight file w.gguf has changed since its header was read"},
    {MANAGER "LimitExceeded", "{\"limit\":\"leases of a connection\",\"maximum\":4096}", -EDQUOT,
     "limit exceeded: the daemon takes at most 4096 (leases of a connection)"},
    {MANAGER "LimitExceeded", "{\"limit\":\"overhead-limit\",\"maximum\":67108864}", -EDQUOT,
     "limit exceeded: beside the arena the daemon would use more memory than its overhead-limit of "
     "64.0 MiB allows. Raise overhead-limit, unload models with many layers, use a definition with "
     "fewer layers and shorter names, or try again when others have finished"},
    {MANAGER "IOFailed", "{\"operation\":\"load\",\"errnoName\":\"EIO\"}", -EIO,
     "the daemon failed to load: Input/output error (EIO)"},
    {"org.varlink.service.PermissionDenied", "{}", -EPERM, "permission denied"},
    {"org.varlink.service.InvalidParameter", "{\"parameter\":\"layer\"}", -EINVAL,
     "the daemon does not take parameter layer"},
    {"org.varlink.service.MethodNotFound", "{\"method\":\"x\"}", -EPROTO, "no such method"},
    {"com.example.Odd", "{\"a\":\"\\u001b\"}", -EPROTO,
     "the daemon reports com.example.Odd {\"a\":\"\\u001B\"}"},
    {MANAGER "NotFound", "{\"kind\":\"model\",\"name\":\"\\u001b[2J\\n\"}", -ENOENT,
     "there is no model \\u001b[2J\\u000a"},
};

START_TEST(refusal)
{
    struct edgemind_layer *layer = NULL;
    char reply[1024];

    snprintf(reply, sizeof reply, "{\"error\":\"%s\",\"parameters\":%s}", refusals[_i].error,
             refusals[_i].parameters);
    say(reply);
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), refusals[_i].r);
    ck_assert_ptr_null(layer);
    ck_assert_str_eq(edgemind_error_name(em), refusals[_i].error);
    ck_assert_str_eq(edgemind_error_text(em), refusals[_i].text);
    if (!strstr(refusals[_i].parameters, "u001b")) /* written otherwise, the same */
        ck_assert_str_eq(edgemind_error_parameters(em), refusals[_i].parameters);
    hear_from(server);
    /* The connection still works, and the next failure replaces this one. */
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", EDGEMIND_WAIT_USEC_MAX + 1, &layer), -EINVAL);
    ck_assert_ptr_null(edgemind_error_name(em));
    ck_assert_ptr_null(edgemind_error_parameters(em));
    ck_assert_int_eq(edgemind_acquire(em, "m", "\xff", 0, &layer), -EINVAL);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "UTF-8"));
    expect_silence();
}
END_TEST

START_TEST(connecting)
{
    struct edgemind *other = edgemind_new();
    struct edgemind_layer *layer;
    char too_long[256];

    ck_assert_int_eq(edgemind_acquire(other, "m", "l", 0, &layer), -ENOTCONN);
    ck_assert_int_eq(edgemind_reconnect(other), -ENOTCONN);
    ck_assert_ptr_null(edgemind_socket_path(other));
    ck_assert_int_eq(edgemind_connect(other, "/nowhere/at/all"), -ENOENT);
    ck_assert_str_eq(edgemind_error_text(other),
                     "no daemon at /nowhere/at/all: No such file or directory");
    ck_assert_str_eq(edgemind_socket_path(other), "/nowhere/at/all");
    ck_assert_int_eq(edgemind_reconnect(other), -ENOENT);
    memset(too_long, 'x', sizeof too_long);
    too_long[sizeof too_long - 1] = '\0';
    ck_assert_int_eq(edgemind_connect(other, too_long), -ENAMETOOLONG);
    /* The environment names the socket, as for emctl. */
    setenv("EDGEMIND_SOCKET", address.sun_path, 1);
    ck_assert_int_eq(edgemind_connect(other, NULL), 0);
    unsetenv("EDGEMIND_SOCKET");
    ck_assert_str_eq(edgemind_socket_path(other), address.sun_path);
    ck_assert_int_eq(edgemind_connect(other, address.sun_path), -EISCONN);
    edgemind_free(other);
    ck_assert_str_eq(edgemind_error_text(NULL), strerror(ENOMEM));

    close(listener);
    other = edgemind_new();
    ck_assert_int_eq(edgemind_connect(other, address.sun_path), -ECONNREFUSED);
    edgemind_free(other);
    unlink(address.sun_path);
    listen_anew();
}
END_TEST

START_TEST(no_arena)
{
    struct edgemind_layer *layer;

    say(layer_reply("1", 0, page, ""));
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), -EOPNOTSUPP);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "simulates"));
    hear_from(server);
    expect_call(RELEASE("1"));
}
END_TEST

/* The descriptor comes only once, so a failure to map the arena must not lose it. */
START_TEST(arena_kept_for_later)
{
    static const char *const answers[] = {
        "{\"error\":\"io.edgemind.manager.LimitExceeded\"}",
        "{\"parameters\":{}}",
        "{\"parameters\":{\"arena\":{\"capacityBytes\":-1}}}",
        "{\"parameters\":{\"arena\":{\"capacityBytes\":1}}}",
    };
    static const int errors[] = {-EDQUOT, -EBADMSG, -EBADMSG, -EBADMSG};
    struct edgemind_layer *layer;
    int arena = new_arena(20);

    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        say_to(server, layer_reply("1", page, 10, i == 0 ? WITH_ARENA : ""), i == 0 ? arena : -1);
        say(answers[i]);
        ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), errors[i]);
        hear_from(server);
        expect_call(CALL("Stats", "{}"));
        expect_call(RELEASE("1"));
    }
    say(layer_reply("2", page, 10, ""));
    say(stats_reply());
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), 0);
    ck_assert_uint_eq(first_byte(layer), 21);
}
END_TEST

static const char *const bad_replies[] = {
    "{}",
    "{\"parameters\":{\"lease\":\"9\"}}",
    "{\"parameters\":{\"lease\":\"9\",\"layer\":\"l\",\"bytes\":4,\"fill\":1,\"segments\":[],"
    "\"tensors\":[]}}",
    "{\"parameters\":{\"lease\":\"9\",\"layer\":\"l\",\"bytes\":4,\"fill\":1,\"segments\":[{"
    "\"offset\":1073741824,\"length\":4}],\"tensors\":[]}}",
    "{\"parameters\":{\"lease\":\"9\",\"arenaFileDescriptor\":0}}", /* a second one */
    "{\"parameters\":{\"lease\":\"9\",\"arenaFileDescriptor\":\"0\"}}",
};

START_TEST(bad_reply)
{
    int arena = new_arena(0);
    struct edgemind_layer *first = acquire_first(arena), *layer;

    say(bad_replies[_i]);
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "another version"));
    hear_from(server);
    if (_i > 0) /* without a lease there is nothing to release */
        expect_call(RELEASE("9"));
    expect_silence();
    ck_assert_uint_eq(first_byte(first), 1);
}
END_TEST

START_TEST(arena_without_its_descriptor)
{
    struct edgemind_layer *layer;

    say(layer_reply("1", 0, page, WITH_ARENA));
    ck_assert_int_eq(edgemind_acquire(em, "m", "l", 0, &layer), -EBADMSG);
}
END_TEST

static const char *put(const char *name, const char *text)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "we");
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

START_TEST(loading)
{
    char model[EDGEMIND_NAME_MAX + 1] = "untouched";
    const char *path = put("d.json", "{\"name\":\"m\",\"layers\":[],\"weights\":\"nowhere\"}");

    ck_assert_int_eq(edgemind_load(em, "/nowhere/at/all", NULL, NULL, model), -ENOENT);
    ck_assert_str_eq(edgemind_error_text(em),
                     "cannot read /nowhere/at/all: No such file or directory");
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/folder", directory);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ck_assert_int_eq(edgemind_load(em, folder, NULL, NULL, model), -ENOENT);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "has no weights"));
    rmdir(folder);
    ck_assert_int_eq(edgemind_load(em, "/dev/null", NULL, NULL, model), -EINVAL);
    ck_assert_int_eq(edgemind_load(em, path, NULL, NULL, model), -ENOENT);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "names the weight file nowhere"));
    path = put("d.json", "{\"name\":\"m\",\"layers\":[]}");
    ck_assert_int_eq(edgemind_load(em, path, "n", NULL, model), -EINVAL);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "is a definition"));
    expect_silence();

    say("{\"parameters\":{\"model\":\"m\"}}");
    ck_assert_int_eq(edgemind_load(em, path, NULL, "ask", model), 0);
    expect_call(CALL("LoadModel", "{\"onFull\":\"ask\",\"definitionFileDescriptor\":0}"));
    ck_assert_str_eq(model, "m");
    say("{\"error\":\"io.edgemind.manager.InvalidDefinition\",\"parameters\":{\"line\":1,"
        "\"column\":2,\"message\":\"oops\"}}");
    ck_assert_int_eq(edgemind_load(em, path, NULL, NULL, NULL), -EINVAL);
    ck_assert_ptr_nonnull(strstr(edgemind_error_text(em), "/d.json:1:2: oops"));
    say("{}");
    ck_assert_int_eq(edgemind_load(em, path, NULL, NULL, NULL), 0);
    say("{}");
    ck_assert_int_eq(edgemind_load(em, path, NULL, NULL, model), -EBADMSG);
    unlink(path);
    for (int i = 0; i < 3; i++)
        hear_from(server);

    path = put("w.gguf", "GGUF\3");
    say("{\"parameters\":{\"model\":\"x\"}}");
    ck_assert_int_eq(edgemind_load(em, path, "x", NULL, model), 0);
    expect_call(CALL("LoadModel", "{\"definitionFileDescriptor\":0,\"name\":\"x\"}"));
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libedgemind");
    TCase *tests = tcase_create("libedgemind");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, tensors);
    tcase_add_test(tests, out_of_memory);
    tcase_add_loop_test(tests, refusal, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(tests, connecting);
    tcase_add_test(tests, no_arena);
    tcase_add_test(tests, arena_kept_for_later);
    tcase_add_loop_test(tests, bad_reply, 0, (int)(sizeof bad_replies / sizeof *bad_replies));
    tcase_add_test(tests, arena_without_its_descriptor);
    tcase_add_test(tests, loading);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
