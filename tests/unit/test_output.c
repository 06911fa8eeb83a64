/* Both outputs: what people and programs see of a good reply, and that a reply of the wrong shape
 * is refused, never shown and never a crash. */
#include "client/output.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct subject subject = {.model = "m", .layer = "l"};

/* What `show` writes for `parameters` (JSON), malloc'ed, and its result. */
static char *shown(const struct output_ops *ops, output_function show, const struct subject *about,
                   const char *parameters, int *ret)
{
    FILE *file = tmpfile();
    struct output output;
    json_t *reply = json_loads(parameters, 0, NULL);

    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(reply);
    output_init(&output, ops, file);
    ck_assert_uint_eq(output.width, 0);
    ck_assert(!output.color);
    *ret = show(&output, about, reply);
    if (*ret == 0 && show == ops->list)
        *ret = ops->list_end(&output, about, NULL);
    ck_assert_int_eq(output_flush(&output), 0);
    output_done(&output);
    json_decref(reply);
    size_t n = (size_t)ftell(file);
    char *text = calloc(1, n + 1);
    rewind(file);
    ck_assert_uint_eq(fread(text, 1, n, file), n);
    fclose(file);
    return text;
}

static void expect(output_function show, const struct subject *about, const char *parameters,
                   const char *text)
{
    int r;
    char *got = shown(&output_text, show, about, parameters, &r);
    ck_assert_int_eq(r, 0);
    ck_assert_str_eq(got, text);
    free(got);
}

#define LOAD(hits, must_unload, evicted, resident)                                         \
    "{\"model\":\"ffn10\",\"layersDone\":10,\"layersTotal\":10,\"bytesDone\":83886080,"    \
    "\"bytesTotal\":83886080,\"hits\":" #hits ",\"loaded\":9,\"mustUnload\":" #must_unload \
    ",\"evicted\":" #evicted ",\"flushes\":1,\"resident\":" #resident ",\"new\":null}"

START_TEST(sentences)
{
    const struct subject model = {.model = "m"};

    expect(output_text.load_model, &model, LOAD(0, 1, 6, 4),
           "ffn10: 10 layers, 80.0 MiB loaded; 1 must-unload evicted 6 layers; 4 resident\n");
    expect(output_text.load_model, &model, LOAD(1, 0, 0, 10),
           "ffn10: 10 layers, 80.0 MiB loaded (1 were there already); 10 resident\n");
    expect(output_text.load_layer, &subject,
           "{\"hit\":false,\"bytes\":2048,\"mustUnload\":true,\"evicted\":1}",
           "m/l: 2.0 KiB loaded; must-unload evicted 1 layer\n");
    expect(output_text.load_layer, &subject,
           "{\"hit\":true,\"bytes\":2048,\"mustUnload\":false,\"evicted\":0}",
           "m/l: 2.0 KiB was there already\n");
    expect(output_text.unload, &subject, "{}", "m/l: unloaded\n");
    expect(output_text.unload, &model, "{}", "m: unloaded\n");
    expect(output_text.reset, &model, "{\"evicted\":6}", "6 layers evicted\n");
    expect(output_text.policy, &model, "{\"policy\":\"lru\",\"onFull\":\"ask\"}",
           "policy lru, on full ask\n");
    expect(output_text.version, &model, "{\"emctl\":\"1\"}", "emctl 1\n");
    expect(output_text.version, &model,
           "{\"emctl\":\"1\",\"daemon\":{\"product\":\"edgemindd\",\"version\":\"2\"}}",
           "emctl 1\nedgemindd 2\n");
    expect(output_text.event, &model, "{}", "");
    expect(output_text.event, &model, "{\"events\":[],\"missed\":2}", "2 events missed\n");
}
END_TEST

START_TEST(tables)
{
    const struct subject models = {0};

    expect(output_text.list, &models, "{\"models\":[],\"layers\":[],\"total\":0}",
           "no models; 'emctl load-model FILE' loads one\n");
    expect(output_text.list, &models,
           "{\"models\":[{\"name\":\"ffn10\",\"layers\":10,\"residentLayers\":4,\"bytes\":83886080,"
           "\"residentBytes\":33554432}],\"layers\":[],\"total\":1}",
           "MODEL LAYERS RESIDENT     SIZE RESIDENT-SIZE\n"
           "ffn10     10        4 80.0 MiB      32.0 MiB\n");
    expect(output_text.list, &subject,
           "{\"layers\":[{\"name\":\"a\",\"state\":\"absent\",\"bytes\":1,\"footprintBytes\":0,"
           "\"extents\":0,\"tensors\":2},{\"name\":\"b\",\"state\":\"resident\",\"bytes\":1,"
           "\"footprintBytes\":4096,\"extents\":1,\"tensors\":0}]}",
           "LAYER STATE    SIZE FOOTPRINT EXTENTS TENSORS\n"
           "a     absent    1 B         -       -       2\n"
           "b     resident  1 B   4.0 KiB       1       0\n");
}
END_TEST

START_TEST(event_lines)
{
    int r;
    char *text = shown(&output_text, output_text.event, &subject,
                       "{\"events\":[{\"event\":\"layer-loaded\",\"atUsec\":1700000000123456,"
                       "\"model\":\"m\",\"layer\":\"l\",\"bytes\":1024},"
                       "{\"event\":\"swapped\",\"atUsec\":1,\"message\":\"hm\",\"model\":null}],"
                       "\"missed\":0}",
                       &r);
    ck_assert_int_eq(r, 0);
    ck_assert_ptr_nonnull(strstr(text, ".123  layer-loaded     m/l  1.0 KiB\n"));
    ck_assert_ptr_nonnull(strstr(text, ".000  swapped          hm\n"));
    free(text);
}
END_TEST

START_TEST(json_is_verbatim)
{
    static const char reply[] =
        "{\"z\":1,\"a\":[{\"f\":0.1,\"s\":\"\\u001B\xc3\xa8\"}],\"n\":null}";
    const output_function functions[] = {output_json.stats, output_json.plan, output_json.error};

    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        int r;
        char *text = shown(&output_json, functions[i], &subject, reply, &r);
        ck_assert_int_eq(r, 0);
        ck_assert_uint_eq(strlen(text), sizeof reply);
        ck_assert_int_eq(strncmp(text, reply, sizeof reply - 1), 0);
        ck_assert_int_eq(text[sizeof reply - 1], '\n');
        free(text);
    }
}
END_TEST

static const char *const wrong[] = {
    "{}",
    "{\"model\":1,\"evicted\":\"6\",\"hit\":0,\"policy\":null,\"emctl\":[],\"layers\":{}}",
    "{\"layers\":[3],\"steps\":[3],\"events\":[3]}",
    "{\"layers\":[{}],\"steps\":{},\"events\":[{}]}",
    "{\"arena\":3,\"scheduler\":[],\"monitor\":null,\"control\":true,\"daemon\":\"x\"}",
    "{\"arena\":{},\"scheduler\":{},\"monitor\":{},\"control\":{},\"daemon\":{}}",
    "{\"layers\":[{\"name\":\"a\",\"state\":\"absent\",\"bytes\":1.5,\"footprintBytes\":0,"
    "\"extents\":0,\"tensors\":2}],\"evicted\":1.5,\"events\":[{\"event\":\"x\",\"atUsec\":\"1\"}]"
    "}",
};

START_TEST(wrong_shapes)
{
    const output_function functions[] = {
        output_text.load_model, output_text.load_layer, output_text.reset,
        output_text.list,       output_text.stats,      output_text.plan,
        output_text.policy,     output_text.version,    output_text.event};
    size_t n = sizeof functions / sizeof *functions;

    for (size_t i = 0; i < n; i++) {
        bool event = i == n - 1;
        int r;
        if (event && !strstr(wrong[_i], "\"events\"")) /* a reply without events is a fine one */
            continue;
        char *text = shown(&output_text, functions[i], &subject, wrong[_i], &r);
        ck_assert_int_eq(r, -EBADMSG);
        ck_assert_str_eq(text, "");
        free(text);
    }
}
END_TEST

START_TEST(full_disk)
{
    FILE *file = fopen("/dev/full", "w");
    struct output output;

    output_init(&output, &output_text, file);
    ck_assert_int_eq(output_flush(&output), 0);
    fputs("x", file);
    ck_assert_int_eq(output_flush(&output), -ENOSPC);
    ck_assert_int_lt(output_flush(&output), 0); /* and is not forgotten */
    fclose(file);
}
END_TEST

START_TEST(reader_gone)
{
    int fds[2];
    struct output output;

    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    FILE *file = fdopen(fds[1], "w");
    setvbuf(file, NULL, _IONBF, 0);
    output_init(&output, &output_text, file);
    close(fds[0]);
    fputs("x", file); /* fails at once: what is left of it is the stream's error flag */
    ck_assert_int_eq(output_flush(&output), -EPIPE);
    fclose(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("output");
    TCase *tests = tcase_create("output");

    tcase_add_test(tests, sentences);
    tcase_add_test(tests, tables);
    tcase_add_test(tests, event_lines);
    tcase_add_test(tests, json_is_verbatim);
    tcase_add_loop_test(tests, wrong_shapes, 0, (int)(sizeof wrong / sizeof *wrong));
    tcase_add_test(tests, full_disk);
    tcase_add_test(tests, reader_gone);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
