/* Both outputs: how people and programs see a good reply, and that a reply of the wrong shape is
 * refused, never shown, and never a crash. */
#include "client/emctl/output.h"
#include "tests/unit/output_fixture.h"
#include "tests/unit/run_suite.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define LOAD(hits, must_unload, evicted, resident)                                         \
    "{\"model\":\"ffn10\",\"layersDone\":10,\"layersTotal\":10,\"bytesDone\":83886080,"    \
    "\"bytesTotal\":83886080,\"hits\":" #hits ",\"loaded\":9,\"mustUnload\":" #must_unload \
    ",\"evicted\":" #evicted ",\"flushes\":1,\"resident\":" #resident ",\"new\":null}"

#define ZEROS                                                                                   \
    "{\"model\":\"ffn10\",\"layersDone\":10,\"layersTotal\":10,\"bytesDone\":83886080,"         \
    "\"bytesTotal\":83886080,\"zeroBytes\":83886080,\"hits\":0,\"loaded\":10,\"mustUnload\":0," \
    "\"evicted\":0,\"flushes\":0,\"resident\":10}"

START_TEST(sentences)
{
    const struct subject model = {.model = "m"};

    expect(output_text.load_model, &model, LOAD(0, 1, 6, 4),
           "ffn10: 10 layers, 80.0 MiB loaded; 1 must-unload evicted 6 layers; 4 resident\n");
    expect(output_text.load_model, &model, LOAD(1, 0, 0, 10),
           "ffn10: 10 layers, 80.0 MiB loaded (1 was there already); 10 resident\n");
    const struct subject timed = {.model = "m", .layer = "l", .elapsed_usec = 500000};
    expect(output_text.load_model, &timed, LOAD(0, 1, 6, 4),
           "ffn10: 10 layers, 80.0 MiB loaded in 0.50 s (160.0 MiB/s); 1 must-unload evicted 6 "
           "layers; 4 resident\n");
    expect(output_text.load_model, &timed, LOAD(1, 0, 0, 10),
           "ffn10: 10 layers, 80.0 MiB loaded in 0.50 s (1 was there already); 10 resident\n");
    expect(output_text.load_layer, &timed,
           "{\"hit\":false,\"bytes\":1048576,\"mustUnload\":false,\"evicted\":0}",
           "m/l: 1.0 MiB loaded in 0.50 s\n"); /* perhaps zeros: an older daemon does not say */
    expect(output_text.load_layer, &timed,
           "{\"hit\":false,\"bytes\":1048576,\"mustUnload\":false,\"evicted\":0,\"zeroBytes\":0}",
           "m/l: 1.0 MiB loaded in 0.50 s (2.0 MiB/s)\n");
    expect(output_text.load_layer, &timed,
           "{\"hit\":false,\"bytes\":1048576,\"mustUnload\":true,\"evicted\":1,"
           "\"zeroBytes\":1048576}",
           "m/l: 1.0 MiB loaded in 0.50 s (zeros: the layer has no weights); must-unload evicted "
           "1 layer\n");
    expect(output_text.load_model, &timed, ZEROS,
           "ffn10: 10 layers, 80.0 MiB loaded in 0.50 s (zeros: the model has no weights); 10 "
           "resident\n");
    expect(output_text.already_loaded, &model, "{}", "m: is known already\n");
    expect(output_quiet.load_model, &timed, ZEROS, "");
    expect(output_quiet.policy, &model, "{\"policy\":\"lru\",\"onFull\":\"ask\"}",
           "policy lru, on full ask\n");
    expect(output_text.load_layer, &timed,
           "{\"hit\":false,\"bytes\":1048575,\"mustUnload\":false,\"evicted\":0}",
           "m/l: 1.0 MiB loaded\n"); /* too few bytes to measure the disk */
    expect(output_text.load_layer, &timed,
           "{\"hit\":true,\"bytes\":1048576,\"mustUnload\":false,\"evicted\":0}",
           "m/l: 1.0 MiB was there already\n");
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

#define VIEW                                                                           \
    "{\"program\":\"engine\",\"user\":\"4000000001\",\"uid\":4000000001,\"pid\":4711," \
    "\"model\":\"m\",\"bytes\":3145728,\"outsideBytes\":4096,\"heldBytes\":1048576,"   \
    "\"faults\":7,\"hits\":5,\"readBytes\":2097152}"

START_TEST(views)
{
    static const char table[] =
        "PROGRAM  PID MODEL    HELD    SIZE FAULTS    READ USER       HITS OUTSIDE\n"
        "engine  4711 m     1.0 MiB 3.0 MiB      7 2.0 MiB 4000000001    5 4.0 KiB\n";
    char more[sizeof table + 20];

    expect(output_text.views, &subject, "{\"views\":[" VIEW "],\"total\":1}", table);
    snprintf(more, sizeof more, "%sand 3 more\n", table);
    expect(output_text.views, &subject, "{\"views\":[" VIEW "],\"total\":4}", more);
    expect(output_text.views, &subject, "{\"views\":[],\"total\":0}",
           "no views; 'emctl exec -- COMMAND' runs a program with views\n");
}
END_TEST

START_TEST(tables)
{
    const struct subject models = {0};

    expect(output_text.list, &models, "{\"models\":[],\"layers\":[],\"total\":0}",
           "no models; 'emctl load-model FILE' loads one\n");
    expect(output_text.list, &models,
           "{\"models\":[{\"name\":\"ffn10\",\"layers\":10,\"residentLayers\":4,\"bytes\":83886080,"
           "\"residentBytes\":33554432,\"views\":0},{\"name\":\"m\",\"layers\":1,"
           "\"residentLayers\":0,\"bytes\":1,\"residentBytes\":0,\"views\":12}],"
           "\"layers\":[],\"total\":2}",
           "MODEL LAYERS RESIDENT     SIZE RESIDENT-SIZE VIEWS\n"
           "ffn10     10        4 80.0 MiB      32.0 MiB     -\n"
           "m          1        0      1 B           0 B    12\n");
    expect(output_text.list, &subject,
           "{\"layers\":[{\"name\":\"a\",\"state\":\"absent\",\"bytes\":1,\"footprintBytes\":0,"
           "\"extents\":0,\"tensors\":2},{\"name\":\"b\",\"state\":\"resident\",\"bytes\":1,"
           "\"footprintBytes\":4096,\"extents\":1,\"tensors\":0}]}",
           "LAYER STATE    SIZE FOOTPRINT EXTENTS TENSORS\n"
           "a     absent    1 B         -       -       2\n"
           "b     resident  1 B   4.0 KiB       1       0\n");
}
END_TEST

/* A layer, then replies with its tensors. */
START_TEST(tensor_tables)
{
    json_t *layer = json_pack("{s:s, s:i}", "name", "blk.0", "bytes", 4096),
           *tensors =
               json_pack("{s:[{s:s, s:s, s:[i, i], s:i, s:i}]}", "tensors", "name", "blk.0.w",
                         "dtype", "F32", "shape", 16, 64, "offset", 0, "bytes", 4096),
           *scalar = json_pack("{s:[{s:s, s:s, s:[], s:i, s:i}]}", "tensors", "name", "s", "dtype",
                               "U8", "shape", "offset", 0, "bytes", 1),
           *bad = json_pack("{s:[{s:s, s:s, s:[s], s:i, s:i}]}", "tensors", "name", "s", "dtype",
                            "U8", "shape", "9", "offset", 0, "bytes", 1);

    open_output(&output_text, 0);
    ck_assert_int_eq(output_text.list_tensors(&output, &subject, tensors), -EBADMSG);
    ck_assert_int_eq(output_text.list_layer(&output, &subject, layer), 0);
    ck_assert_int_eq(output_text.list_tensors(&output, &subject, tensors), 0);
    ck_assert_int_eq(output_text.list_tensors(&output, &subject, scalar), 0);
    ck_assert_int_eq(output_text.list_tensors(&output, &subject, bad), -EBADMSG);
    ck_assert_int_eq(output_text.list_tensors(&output, &subject, layer), -EBADMSG);
    ck_assert_int_eq(output_text.list_layer(&output, &subject, tensors), -EBADMSG);
    ck_assert_int_eq(output_text.list_end(&output, &subject, NULL), 0);
    char *text = close_output();
    ck_assert_str_eq(text, "LAYER / TENSOR DTYPE  SHAPE    SIZE\n"
                           "blk.0                       4.0 KiB\n"
                           "  blk.0.w      F32    16x64 4.0 KiB\n"
                           "  s            U8    scalar     1 B\n");
    free(text);
    json_decref(layer);
    json_decref(tensors);
    json_decref(scalar);
    json_decref(bad);
}
END_TEST

/* A name that is too long keeps its beginning and its end. */
START_TEST(long_names)
{
    json_t *reply = json_loads(
        "{\"models\":[{\"name\":\"the-beginning-and-much-between-it-and-the-end\",\"layers\":1,"
        "\"residentLayers\":1,\"bytes\":1,\"residentBytes\":1}]}",
        0, NULL);
    const struct subject none = {0};

    ck_assert_ptr_nonnull(reply);
    for (unsigned width = 20; width < 80; width++) {
        open_output(&output_text, width);
        ck_assert_int_eq(output_text.list(&output, &none, reply), 0);
        ck_assert_int_eq(output_text.list_end(&output, &none, NULL), 0);
        char *text = close_output();
        ck_assert_msg(line_length(text) <= width, "%u: %s", width, text);
        bool is_whole = strstr(text, "much-between");
        ck_assert_msg(is_whole || (strstr(text, "...") && strstr(text, "end ")), "%u: %s", width,
                      text);
        ck_assert_ptr_nonnull(strstr(text, "\nthe-b"));
        free(text);
    }
    json_decref(reply);
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

/* It has been shown already. */
static void expect_json_nothing(output_function show)
{
    int r;
    char *text = shown(&output_json, show, &subject, "{}", &r);
    ck_assert_int_eq(r, 0);
    ck_assert_str_eq(text, "");
    free(text);
}

START_TEST(json_is_verbatim)
{
    static const char reply[] =
        "{\"z\":1,\"a\":[{\"f\":0.1,\"s\":\"\\u001B\xc3\xa8\"}],\"n\":null}";
    const output_function functions[] = {output_json.stats, output_json.plan,
                                         output_json.plan_policy, output_json.error};

    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        int r;
        char *text = shown(&output_json, functions[i], &subject, reply, &r);
        ck_assert_int_eq(r, 0);
        ck_assert_uint_eq(strlen(text), sizeof reply);
        ck_assert_int_eq(strncmp(text, reply, sizeof reply - 1), 0);
        ck_assert_int_eq(text[sizeof reply - 1], '\n');
        free(text);
    }
    expect_json_nothing(output_json.plan_passes);
    expect_json_nothing(output_json.plan_comparison);
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
    "{\"views\":[{\"program\":\"p\",\"model\":3}],\"events\":[3]}",
};

START_TEST(wrong_shapes)
{
    const output_function functions[] = {
        output_text.load_model,  output_text.load_layer,  output_text.reset,  output_text.list,
        output_text.stats,       output_text.plan,        output_text.policy, output_text.version,
        output_text.plan_passes, output_text.plan_policy, output_text.views,  output_text.event};
    size_t n = sizeof functions / sizeof *functions;

    for (size_t i = 0; i < n; i++) {
        bool event = i == n - 1;
        int r;
        if (event && !strstr(wrong[_i], "\"events\"")) /* a reply without events is valid */
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

    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    FILE *file = fdopen(fds[1], "w");
    setvbuf(file, NULL, _IONBF, 0);
    output_init(&output, &output_text, file);
    close(fds[0]);
    fputs("x", file); /* fails at once; only the stream's error flag remains */
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
    tcase_add_test(tests, views);
    tcase_add_test(tests, tensor_tables);
    tcase_add_test(tests, long_names);
    tcase_add_test(tests, event_lines);
    tcase_add_test(tests, json_is_verbatim);
    tcase_add_loop_test(tests, wrong_shapes, 0, (int)(sizeof wrong / sizeof *wrong));
    tcase_add_test(tests, full_disk);
    tcase_add_test(tests, reader_gone);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
