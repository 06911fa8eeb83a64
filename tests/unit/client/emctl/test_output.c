/* Both outputs: what people and programs see of a good reply, and that a reply of the wrong shape
 * is refused, never shown and never a crash. */
#include "client/emctl/output.h"
#include "common/clock.h"
#include "tests/unit/run_suite.h"

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
           "m/l: 1.0 MiB loaded in 0.50 s\n"); /* of zeros, perhaps: an older daemon */
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
           "m/l: 1.0 MiB loaded\n"); /* too little to tell the disk from the asking */
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

/* A layer, then parts of its tensors. */
START_TEST(tensor_tables)
{
    FILE *file = tmpfile();
    struct output output;
    char text[512];
    json_t *layer = json_pack("{s:s, s:i}", "name", "blk.0", "bytes", 4096),
           *tensors =
               json_pack("{s:[{s:s, s:s, s:[i, i], s:i, s:i}]}", "tensors", "name", "blk.0.w",
                         "dtype", "F32", "shape", 16, 64, "offset", 0, "bytes", 4096),
           *scalar = json_pack("{s:[{s:s, s:s, s:[], s:i, s:i}]}", "tensors", "name", "s", "dtype",
                               "U8", "shape", "offset", 0, "bytes", 1),
           *bad = json_pack("{s:[{s:s, s:s, s:[s], s:i, s:i}]}", "tensors", "name", "s", "dtype",
                            "U8", "shape", "9", "offset", 0, "bytes", 1);

    output_init(&output, &output_text, file);
    ck_assert_int_eq(output_text.list_tensors(&output, &subject, tensors), -EBADMSG);
    ck_assert_int_eq(output_text.list_layer(&output, &subject, layer), 0);
    ck_assert_int_eq(output_text.list_tensors(&output, &subject, tensors), 0);
    ck_assert_int_eq(output_text.list_tensors(&output, &subject, scalar), 0);
    ck_assert_int_eq(output_text.list_tensors(&output, &subject, bad), -EBADMSG);
    ck_assert_int_eq(output_text.list_tensors(&output, &subject, layer), -EBADMSG);
    ck_assert_int_eq(output_text.list_layer(&output, &subject, tensors), -EBADMSG);
    ck_assert_int_eq(output_text.list_end(&output, &subject, NULL), 0);
    output_done(&output);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    ck_assert_str_eq(text, "LAYER / TENSOR DTYPE  SHAPE    SIZE\n"
                           "blk.0                       4.0 KiB\n"
                           "  blk.0.w      F32    16x64 4.0 KiB\n"
                           "  s            U8    scalar     1 B\n");
    fclose(file);
    json_decref(layer);
    json_decref(tensors);
    json_decref(scalar);
    json_decref(bad);
}
END_TEST

#define PLAN(counts, steps)                                                                \
    "{\"model\":\"m\",\"policy\":\"lru\",\"capacityBytes\":1048576,\"steps\":[" steps "]," \
    "\"stepsTotal\":1," counts "}"
#define STEP(decision)                                                             \
    "{\"layer\":\"l\",\"decision\":\"" decision "\",\"hit\":false,\"bytes\":1024," \
    "\"victims\":0,\"victimBytes\":0}"

/* Only what happens is counted. */
START_TEST(plans)
{
    expect(output_text.plan, &subject,
           PLAN("\"hits\":0,\"loaded\":1,\"mustUnload\":0,\"outOfMemory\":0,\"busy\":0,"
                "\"evictions\":1,\"flushes\":0,\"resident\":1",
                STEP("loaded")),
           "LAYER DECISION    SIZE EVICTS EVICTED-SIZE\n"
           "l     loaded   1.0 KiB      -            -\n"
           "m into 1.0 MiB, lru: 1 loaded, 1 eviction, 1 resident at the end\n");
    expect(output_text.plan, &subject,
           PLAN("\"hits\":0,\"loaded\":0,\"mustUnload\":0,\"outOfMemory\":1,\"busy\":0,"
                "\"evictions\":0,\"flushes\":0,\"resident\":0",
                STEP("out-of-memory")),
           "LAYER DECISION         SIZE EVICTS EVICTED-SIZE\n"
           "l     out-of-memory 1.0 KiB      -            -\n"
           "m into 1.0 MiB, lru: 1 out-of-memory\n");
}
END_TEST

#define LOADED                                                                               \
    "\"hits\":0,\"loaded\":2,\"mustUnload\":0,\"outOfMemory\":0,\"busy\":0,\"evictions\":1," \
    "\"flushes\":0,\"resident\":1"
#define RUN(policy, ...)                                                                 \
    "{\"model\":\"m\",\"policy\":\"" policy "\",\"capacityBytes\":1048576,\"steps\":[]," \
    "\"stepsTotal\":0," LOADED ",\"passes\":[" __VA_ARGS__ "]}"
#define PASS(hits, loaded, bytes, usec)                                                      \
    "{\"hits\":" #hits ",\"loaded\":" #loaded ",\"bytesLoaded\":" #bytes ",\"evictions\":1," \
    "\"flushes\":0,\"usec\":" #usec "}"

/* Passes that are the same share a line; without times there is no column for them. */
START_TEST(passes)
{
    expect(output_text.plan_passes, &subject,
           RUN("lru", PASS(0, 2, 2048, 3000) "," PASS(1, 1, 1024, 1000) "," PASS(1, 1, 1024, 1000)),
           "\n"
           "PASS HIT-RATE    READ    TIME HITS LOADED EVICTIONS FLUSHES\n"
           "1        0.0% 2.0 KiB 3.00 ms    0      2         1       0\n"
           "2-3     50.0% 1.0 KiB 1.00 ms    1      1         1       0\n"
           "mean of passes 2 to 3: 50.0% hits, 1.0 KiB read, 1.00 ms, 1000 passes/s\n");
    expect(output_text.plan_passes, &subject,
           RUN("lru", PASS(2, 0, 0, null) "," PASS(0, 2, 2048, null) "," PASS(1, 1, 1024, null)),
           "\n"
           "PASS HIT-RATE    READ HITS LOADED EVICTIONS FLUSHES\n"
           "1      100.0%     0 B    2      0         1       0\n"
           "2        0.0% 2.0 KiB    0      2         1       0\n"
           "3       50.0% 1.0 KiB    1      1         1       0\n"
           "mean of passes 2 to 3: 25.0% hits, 1.5 KiB read\n");
    expect(output_text.plan_passes, &subject, RUN("lru", PASS(0, 1, 1, 20000000)),
           "\n"
           "PASS HIT-RATE READ   TIME HITS LOADED EVICTIONS FLUSHES\n"
           "1        0.0%  1 B 20.0 s    0      1         1       0\n"
           "pass 1: 0.0% hits, 1 B read, 20.0 s, 0.0500 passes/s\n");
    /* No layers, no time, and the largest numbers. */
    expect(output_text.plan_passes, &subject, RUN("lru", PASS(0, 0, 0, 0)),
           "\n"
           "PASS HIT-RATE READ TIME HITS LOADED EVICTIONS FLUSHES\n"
           "1        0.0%  0 B 0 us    0      0         1       0\n"
           "pass 1: 0.0% hits, 0 B read, 0 us, - passes/s\n");
    expect(output_text.plan_passes, &subject,
           RUN("lru", PASS(0, 1, 9223372036854775807, 9223372036854775807)),
           "\n"
           "PASS HIT-RATE    READ            TIME HITS LOADED EVICTIONS FLUSHES\n"
           "1        0.0% 8.0 EiB 106751991 d 4 h    0      1         1       0\n"
           "pass 1: 0.0% hits, 8.0 EiB read, 106751991 d 4 h, 0.0000 passes/s\n");
    expect(output_text.plan_passes, &subject, RUN("lru", ""),
           "\nno run: the load would be refused\n");
#define ASSUMING(assumed, ...) \
    "{\"diskBytesPerSecond\":2048" assumed ",\"passes\":[" __VA_ARGS__ "]}"
    expect(output_text.plan_passes, &subject, ASSUMING("", PASS(0, 1, 1, 20000000)),
           "\n"
           "PASS HIT-RATE READ   TIME HITS LOADED EVICTIONS FLUSHES\n"
           "1        0.0%  1 B 20.0 s    0      1         1       0\n"
           "pass 1: 0.0% hits, 1 B read, 20.0 s, 0.0500 passes/s; assumed: 2.0 KiB/s from the "
           "disk\n");
    expect(output_text.plan_passes, &subject,
           ASSUMING(",\"computeUsec\":2000", PASS(0, 1, 1, 20000000)),
           "\n"
           "PASS HIT-RATE READ   TIME HITS LOADED EVICTIONS FLUSHES\n"
           "1        0.0%  1 B 20.0 s    0      1         1       0\n"
           "pass 1: 0.0% hits, 1 B read, 20.0 s, 0.0500 passes/s; assumed: 2.0 KiB/s from the "
           "disk, 2.00 ms of computing a pass\n");
}
END_TEST

START_TEST(policies)
{
    expect(output_text.plan_policy, &subject, RUN("lru", PASS(1, 1, 1024, null)),
           "lru: 2 loaded, 1 eviction, 1 resident at the end\n"
           "PASS HIT-RATE    READ HITS LOADED EVICTIONS FLUSHES\n"
           "1       50.0% 1.0 KiB    1      1         1       0\n\n");
    expect(output_text.plan_policy, &subject, RUN("lru", ""),
           "lru: 2 loaded, 1 eviction, 1 resident at the end\n"
           "no run: the load would be refused\n\n");
    expect(output_text.plan_comparison, &subject,
           "[" RUN("a", PASS(1, 1, 1024, null)) "," RUN("bcd", PASS(0, 2, 2048, null)) "]",
           "POLICY HIT-RATE READ/PASS\n"
           "a         50.0%   1.0 KiB\n"
           "bcd        0.0%   2.0 KiB\n"
           "m into 1.0 MiB, pass 1; best: a\n");
    /* What takes least is best, not what reads least. */
    expect(output_text.plan_comparison, &subject,
           "[" RUN("a", PASS(1, 1, 1024, 2000)) "," RUN("b", PASS(0, 2, 2048, 1000)) "," RUN(
               "c", PASS(0, 2, 2048, 1000)) "]",
           "POLICY HIT-RATE READ/PASS TIME/PASS PASSES/S\n"
           "a         50.0%   1.0 KiB   2.00 ms      500\n"
           "b          0.0%   2.0 KiB   1.00 ms     1000\n"
           "c          0.0%   2.0 KiB   1.00 ms     1000\n"
           "m into 1.0 MiB, pass 1; best: b, c\n");
    expect(output_text.plan_comparison, &subject,
           "[" RUN("a", PASS(1, 1, 1024, null)) "," RUN("b", PASS(1, 1, 1024, null)) "]",
           "POLICY HIT-RATE READ/PASS\n"
           "a         50.0%   1.0 KiB\n"
           "b         50.0%   1.0 KiB\n"
           "m into 1.0 MiB, pass 1; all are as good\n");
    expect(output_text.plan_comparison, &subject, "[" RUN("a", "") "," RUN("b", "") "]", "");
    expect(output_text.plan_comparison, &subject, "[]", "");
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
    char text[512];

    ck_assert_ptr_nonnull(reply);
    for (unsigned width = 20; width < 80; width++) {
        FILE *file = tmpfile();
        struct output output;
        output_init(&output, &output_text, file);
        output.width = width;
        ck_assert_int_eq(output_text.list(&output, &none, reply), 0);
        ck_assert_int_eq(output_text.list_end(&output, &none, NULL), 0);
        output_done(&output);
        rewind(file);
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        ck_assert_msg(strcspn(text, "\n") <= width, "%u: %s", width, text);
        bool is_whole = strstr(text, "much-between");
        ck_assert_msg(is_whole || (strstr(text, "...") && strstr(text, "end ")), "%u: %s", width,
                      text);
        ck_assert_ptr_nonnull(strstr(text, "\nthe-b"));
        fclose(file);
    }
    json_decref(reply);
}
END_TEST

/* At every width: every line but the sentences fits, and what counts most is not left out. */
START_TEST(plans_fit)
{
    json_t *replies = json_loads(
        "[" RUN("next-use", PASS(0, 2, 2048, 3000) "," PASS(1, 1, 1024, 1000)) "]", 0, NULL);
    char line[256];

    ck_assert_ptr_nonnull(replies);
    for (unsigned width = 34; width < 120; width++) {
        FILE *file = tmpfile();
        struct output output;
        size_t n_times = 0;
        output_init(&output, &output_text, file);
        output.width = width;
        ck_assert_int_eq(output_text.plan_policy(&output, &subject, json_array_get(replies, 0)), 0);
        ck_assert_int_eq(output_text.plan_comparison(&output, &subject, replies), 0);
        output_done(&output);
        rewind(file);
        while (fgets(line, sizeof line, file)) {
            ck_assert_msg(strchr(line, ',') || strlen(line) - 1 <= width, "%u: %s", width, line);
            n_times += strstr(line, "1.00 ms") != NULL;
        }
        ck_assert_msg(width < 40 || n_times == 2, "%u", width);
        fclose(file);
    }
    json_decref(replies);
}
END_TEST

/* Of a daemon that is well; `well` false: of one that is not. */
static char *statistics_reply(bool well)
{
    json_int_t now = (json_int_t)clock_realtime_usec();
    json_t *reply = json_pack(
        "{s:{s:I, s:I, s:I, s:I, s:I, s:I, s:s}, s:{s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:f, s:I}}",
        "arena", "capacityBytes", (json_int_t)50 << 20, "usedBytes", (json_int_t)20 << 20,
        "freeBytes", (json_int_t)30 << 20, "leasedBytes", (json_int_t)(well ? 0 : 1 << 20),
        "committedBytes", (json_int_t)(well ? 50 : 40) << 20, "largestFreeBytes",
        (json_int_t)(well ? 30 : 10) << 20, "backing", "plain-pages", "monitor", "rssBytes",
        (json_int_t)55 << 20, "swapBytes", (json_int_t)(well ? 0 : 2 << 20), "arenaSwappedBytes",
        (json_int_t)(well ? 0 : 3 << 20), "overheadBytes", (json_int_t)5 << 20, "driftBytes",
        (json_int_t)(well ? 0 : -(4 << 20)), "aligned", well, "availableBytes", (json_int_t)1 << 30,
        "cpuPercent", well ? 0.0 : 12.5, "sampledAtUsec", well ? now : now - 75000000);
    json_t *rest = json_pack(
        "{s:{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:{s:i, s:i, s:i}, s:i, s:i, s:i, s:i, s:i}, "
        "s:{s:i, s:i, s:i}, s:{s:s, s:i, s:i}}",
        "scheduler", "policy", "lru", "onFull", "ask", "models", 1, "layersLoaded", 2,
        "layersLoading", well ? 0 : 1, "hits", 0, "misses", 2, "decisions", "mustUnload",
        well ? 0 : 4, "outOfMemory", well ? 0 : 5, "busy", well ? 0 : 6, "evictions", well ? 0 : 7,
        "flushes", well ? 0 : 1, "bytesLoaded", 20 << 20, "runs", well ? 0 : 1, "waiting",
        well ? 0 : 3, "control", "connections", 1, "requests", 3, "errors", well ? 0 : 2, "daemon",
        "version", "0.1.0", "pid", 4711, "uptimeUsec", 200000000);

    ck_assert_ptr_nonnull(reply);
    ck_assert_ptr_nonnull(rest);
    ck_assert_int_eq(json_object_update(reply, rest), 0);
    char *text = json_dumps(reply, 0);
    json_decref(reply);
    json_decref(rest);
    return text;
}

START_TEST(statistics)
{
    char *well = statistics_reply(true), *unwell = statistics_reply(false);

    expect(output_text.stats, &subject, well,
           "arena      [################........................]  40%  20.0 MiB of 50.0 MiB used\n"
           "           30.0 MiB free, plain-pages\n"
           "verdict    aligned: the system agrees\n"
           "memory     55.0 MiB RSS, 5.0 MiB of it beside the arena\n"
           "machine    1.0 GiB available\n"
           "layers     2 resident, 1 model known\n"
           "requests   0 hits, 2 misses, 20.0 MiB loaded\n"
           "policy     lru, ask when full\n"
           "daemon     edgemindd 0.1.0, pid 4711, up 3 min 20 s\n"
           "           1 connection, 3 requests\n");
    expect(
        output_text.stats, &subject, unwell,
        "arena      [################........................]  40%  20.0 MiB of 50.0 MiB used\n"
        "           30.0 MiB free, 10.0 MiB in one piece, 1.0 MiB in use by clients or loads, "
        "40.0 MiB committed, plain-pages\n"
        "verdict    NOT ALIGNED with the system, -4.0 MiB off, 3.0 MiB of the arena swapped out, "
        "as of 1 min 15 s ago\n"
        "memory     55.0 MiB RSS, 5.0 MiB of it beside the arena, 2.0 MiB swapped out\n"
        "machine    1.0 GiB available\n"
        "layers     2 resident, 1 loading, 1 model known, 1 run\n"
        "requests   0 hits, 2 misses, 20.0 MiB loaded, 3 waiting\n"
        "           4 must-unload, 7 layers evicted, 1 flush, 5 out-of-memory, 6 busy\n"
        "policy     lru, ask when full\n"
        "daemon     edgemindd 0.1.0, pid 4711, up 3 min 20 s, 12.5% CPU\n"
        "           1 connection, 3 requests, 2 errors\n");
    free(well);
    free(unwell);
}
END_TEST

/* At every width: no line is wider (but for a fact that alone is), and a screen is enough. */
START_TEST(statistics_fit)
{
    char *unwell = statistics_reply(false), line[256];
    json_t *reply = json_loads(unwell, 0, NULL);

    for (unsigned width = 1; width < 200; width++) {
        FILE *file = tmpfile();
        struct output output;
        size_t n_lines = 0;
        output_init(&output, &output_text, file);
        output.width = width;
        ck_assert_int_eq(output_text.stats(&output, &subject, reply), 0);
        rewind(file);
        for (; fgets(line, sizeof line, file); n_lines++)
            ck_assert_msg(width < 48 || strlen(line) - 1 <= width, "%u: %s", width, line);
        ck_assert(width < 80 || n_lines <= 24);
        fclose(file);
    }
    json_decref(reply);
    free(unwell);
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

/* It was shown already. */
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
        if (event && !strstr(wrong[_i], "\"events\"")) /* a reply without events is a fine one */
            continue;
        char *text = shown(&output_text, functions[i], &subject, wrong[_i], &r);
        ck_assert_int_eq(r, -EBADMSG);
        ck_assert_str_eq(text, "");
        free(text);
    }
}
END_TEST

/* Passes that are none, and a reply among several that is none. */
START_TEST(wrong_passes)
{
    static const char *const replies[] = {RUN("a", "3"), RUN("a", "{}"),
                                          RUN("a", PASS(1, 1, "1", 1)),
                                          RUN("a", PASS(1, 1, 1, 1) ",null")};
    int r;

    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        free(shown(&output_text, output_text.plan_passes, &subject, replies[i], &r));
        ck_assert_int_eq(r, -EBADMSG);
        free(shown(&output_text, output_text.plan_policy, &subject, replies[i], &r));
        ck_assert_int_eq(r, -EBADMSG);
    }
    char *text = shown(&output_text, output_text.plan_comparison, &subject,
                       "[" RUN("a", PASS(1, 1, 1, 1)) ",3]", &r);
    ck_assert_int_eq(r, -EBADMSG);
    ck_assert_str_eq(text, "");
    free(text);
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
    tcase_add_test(tests, views);
    tcase_add_test(tests, tensor_tables);
    tcase_add_test(tests, plans);
    tcase_add_test(tests, passes);
    tcase_add_test(tests, policies);
    tcase_add_test(tests, long_names);
    tcase_add_test(tests, plans_fit);
    tcase_add_test(tests, statistics);
    tcase_add_test(tests, statistics_fit);
    tcase_add_test(tests, event_lines);
    tcase_add_test(tests, json_is_verbatim);
    tcase_add_loop_test(tests, wrong_shapes, 0, (int)(sizeof wrong / sizeof *wrong));
    tcase_add_test(tests, wrong_passes);
    tcase_add_test(tests, full_disk);
    tcase_add_test(tests, reader_gone);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
