/* libedgemind while jansson gets no memory: every allocation of a call fails once, alone or with
 * all that follow. The call then fails with -ENOMEM and says so, or does what it does otherwise;
 * what the daemon hears is a whole call or none. jansson's allocations are not counted here, as in
 * any program that uses the library. */
#include "tests/unit/failing_json.h"
#include "tests/unit/played_daemon.h"
#include "tests/unit/run_suite.h"

#include <jansson.h>
#include <stdint.h>

/* Longer than what jansson keeps without an allocation. */
#define MODEL       "a-model-whose-name-is-long-\xc3\xa9"
#define LAYER       "a-layer-whose-name-is-long.0"
#define TENSOR      "a-layer-whose-name-is-long.0.weight\\u0022\\u00e9"
#define TENSOR_READ "a-layer-whose-name-is-long.0.weight\"\xc3\xa9"
#define DEFINITION  "/definition.json"
enum { CALLS_MAX = 4 };

static struct edgemind_run *run;
static char definition_path[64];

static int acquire(void)
{
    struct edgemind_layer *layer = NULL;
    struct edgemind_tensor tensor;
    int r = edgemind_acquire(em, MODEL, LAYER, 59999999, &layer);

    if (r < 0)
        return r;
    ck_assert_str_eq(edgemind_layer_name(layer), LAYER);
    ck_assert_uint_eq(first_byte(layer), 10);
    ck_assert_int_eq(edgemind_layer_find_tensor(layer, TENSOR_READ, &tensor), 0);
    ck_assert_uint_eq(tensor.n_dimensions, 2);
    ck_assert_uint_eq(tensor.shape[1], 3);
    return 0;
}

static int begin(void)
{
    return edgemind_run_begin(em, MODEL, &run);
}

static int next(void)
{
    struct edgemind_step step;
    int r = edgemind_run_next(run, 59999999, &step);

    if (r < 0)
        return r;
    ck_assert_uint_eq(step.index, 1);
    ck_assert_uint_eq(step.pass, 1234567890123456);
    return 0;
}

static int load(void)
{
    char model[EDGEMIND_NAME_MAX + 1];
    int r = edgemind_load(em, definition_path, NULL, "ask", model);

    if (r == 0)
        ck_assert_str_eq(model, MODEL);
    return r;
}

static int refused(void)
{
    struct edgemind_layer *layer = NULL;
    int r = edgemind_acquire(em, MODEL, LAYER, 0, &layer);

    if (r == -ENOENT && edgemind_error_parameters(em))
        ck_assert_str_eq(edgemind_error_parameters(em),
                         "{\"kind\":\"a-kind-that-is-long\",\"name\":\"" MODEL "\"}");
    return r == -ENOENT ? 0 : r;
}

#define LEASE(further)                                                                            \
    "{\"parameters\":{\"lease\":\"a-lease-whose-name-is-long\",\"layer\":\"" LAYER                \
    "\",\"bytes\":10,\"fill\":1,\"segments\":[{\"offset\":0,\"length\":10}],\"tensors\":[{"       \
    "\"name\":\"" TENSOR "\",\"dtype\":\"U8\",\"shape\":[2,3],\"offset\":1,\"bytes\":6}]" further \
    "}}"

static const struct {
    const char *name;
    int (*call)(void);
    bool in_run;
    const char *answer;
    const char *calls[CALLS_MAX];
} cases[] = {
    {"acquire",
     acquire,
     false,
     LEASE(WITH_ARENA),
     {CALL("Acquire", "{\"model\":\"" MODEL "\",\"layer\":\"" LAYER "\",\"waitUsec\":59999999}"),
      CALL("Stats", "{}"), RELEASE("a-lease-whose-name-is-long")}},
    {"begin a run",
     begin,
     false,
     "{\"parameters\":{\"run\":\"a-run-whose-name-is-long\",\"layers\":2}}",
     {CALL("BeginRun", "{\"model\":\"" MODEL "\"}")}},
    {"next",
     next,
     true,
     LEASE(",\"index\":1,\"pass\":1234567890123456,\"hit\":true" WITH_ARENA),
     {CALL("Next", "{\"run\":\"a-run-whose-name-is-long\",\"waitUsec\":59999999}"),
      CALL("Stats", "{}")}},
    {"load",
     load,
     false,
     "{\"parameters\":{\"model\":\"" MODEL "\"}}",
     {CALL("LoadModel", "{\"onFull\":\"ask\",\"definitionFileDescriptor\":0}")}},
    {"refused",
     refused,
     false,
     "{\"error\":\"io.edgemind.manager.NotFound\",\"parameters\":{\"kind\":\"a-kind-that-is-"
     "long\",\"name\":\"" MODEL "\"}}",
     {CALL("Acquire", "{\"model\":\"" MODEL "\",\"layer\":\"" LAYER "\"}")}},
};

/* What the daemon hears are some of the case's calls, in their order. */
static void check_calls(const char *const calls[CALLS_MAX])
{
    char text[CALL_BYTES_MAX];
    ssize_t n = recv(server, text, sizeof text - 1, MSG_DONTWAIT);
    size_t i = 0;

    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(text + at) + 1) {
        text[n] = '\0';
        while (i < CALLS_MAX && calls[i] && strcmp(calls[i], text + at) != 0)
            i++;
        ck_assert_msg(i < CALLS_MAX && calls[i], "%s", text + at);
        i++;
    }
}

/* A new client, whose answers are there. */
static void begin_anew(bool in_run)
{
    edgemind_free(em);
    hang_up();
    em = edgemind_new();
    edgemind_set_timeout(em, 1000000);
    ck_assert_int_eq(edgemind_connect(em, address.sun_path), 0);
    server = take_client();
    if (in_run) {
        say("{\"parameters\":{\"run\":\"a-run-whose-name-is-long\",\"layers\":2}}");
        ck_assert_int_eq(edgemind_run_begin(em, MODEL, &run), 0);
        hear_from(server);
    }
}

START_TEST(out_of_memory)
{
    static const size_t modes[] = {1, SIZE_MAX};
    int arena = new_arena(10);

    snprintf(definition_path, sizeof definition_path, "%s" DEFINITION, directory);
    FILE *file = fopen(definition_path, "w");
    ck_assert_ptr_nonnull(file);
    fputs("{\"name\":\"x\",\"weights\":\"../a-file-whose-name-is-long\"}", file);
    fclose(file);
    const char *text = cases[_i].answer;
    for (size_t mode = 0; mode < 2; mode++) {
        bool has_failed = true;
        for (size_t n = 0; has_failed; n++) {
            ck_assert_uint_lt(n, 1000);
            begin_anew(cases[_i].in_run);
            say_to(server, text, strstr(text, WITH_ARENA) ? arena : -1);
            say(stats_reply());
            fail_some(n, modes[mode]);
            int r = cases[_i].call();
            has_failed = fail_no_more();
            check_calls(cases[_i].calls);
            ck_assert_msg(r == 0 || (has_failed && r == -ENOMEM), "%s, allocation %zu: %d, %s",
                          cases[_i].name, n, r, edgemind_error_text(em));
        }
    }
    unlink(definition_path);
    close(arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libedgemind_memory");
    TCase *tests = tcase_create("libedgemind_memory");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, out_of_memory, 0, sizeof cases / sizeof cases[0]);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
