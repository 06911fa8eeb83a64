/* The statistics for people, at every width. */
#include "client/emctl/output.h"
#include "common/clock.h"
#include "tests/unit/output_fixture.h"
#include "tests/unit/run_suite.h"

/* Of a healthy daemon; if `well` is false, of an unhealthy one. */
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
        "s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i}, s:{s:i, s:i, s:i}, s:{s:s, s:i, s:i}}",
        "scheduler", "policy", "lru", "onFull", "ask", "models", 1, "layersLoaded", 2,
        "layersLoading", well ? 0 : 1, "hits", 0, "misses", 2, "decisions", "mustUnload",
        well ? 0 : 4, "outOfMemory", well ? 0 : 5, "busy", well ? 0 : 6, "evictions", well ? 0 : 7,
        "flushes", well ? 0 : 1, "bytesLoaded", 20 << 20, "runs", well ? 0 : 1, "waiting",
        well ? 0 : 3, "views", "count", well ? 0 : 1, "bytes", 9 << 20, "outsideBytes", 1 << 20,
        "heldBytes", 2 << 20, "faults", well ? 0 : 5, "hits", 1, "readBytes", 4 << 20, "control",
        "connections", 1, "requests", 3, "errors", well ? 0 : 2, "daemon", "version", "0.1.0",
        "pid", 4711, "uptimeUsec", 200000000);

    ck_assert_ptr_nonnull(reply);
    ck_assert_ptr_nonnull(rest);
    ck_assert_int_eq(json_object_update(reply, rest), 0);
    if (!well)
        ck_assert_int_eq(
            json_object_set_new(reply, "pressure",
                                json_pack("{s:b, s:s, s:I}", "short", 1, "reason", "stalls",
                                          "trimmedBytes", (json_int_t)10 << 20)),
            0);
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
        "40.0 MiB committed, 10.0 MiB given back to the system, plain-pages\n"
        "verdict    NOT ALIGNED with the system, -4.0 MiB off, 3.0 MiB of the arena swapped out, "
        "as of 1 min 15 s ago\n"
        "memory     55.0 MiB RSS, 5.0 MiB of it beside the arena, 2.0 MiB swapped out\n"
        "machine    1.0 GiB available, MEMORY IS SHORT (stalls)\n"
        "layers     2 resident, 1 loading, 1 model known, 1 run\n"
        "requests   0 hits, 2 misses, 20.0 MiB loaded, 3 waiting\n"
        "           4 must-unload, 7 layers evicted, 1 flush, 5 out-of-memory, 6 busy\n"
        "policy     lru, ask when full\n"
        "views      1 view, 2.0 MiB of 9.0 MiB held, 1.0 MiB outside the arena, 5 faults, 1 hit, "
        "4.0 MiB loaded\n"
        "daemon     edgemindd 0.1.0, pid 4711, up 3 min 20 s, 12.5% CPU\n"
        "           1 connection, 3 requests, 2 errors\n");
    free(well);
    free(unwell);
}
END_TEST

/* At every width, no line is wider (except for a single fact that is), and a screen is enough. */
START_TEST(statistics_fit)
{
    char *unwell = statistics_reply(false);
    json_t *reply = json_loads(unwell, 0, NULL);

    for (unsigned width = 1; width < 200; width++) {
        size_t n_lines = 0;
        open_output(&output_text, width);
        ck_assert_int_eq(output_text.stats(&output, &subject, reply), 0);
        char *text = close_output();
        for (const char *line = text; *line; line = next_line(line), n_lines++)
            ck_assert_msg(width < 48 || line_length(line) <= width, "%u: %s", width, line);
        ck_assert(width < 80 || n_lines <= 24);
        free(text);
    }
    json_decref(reply);
    free(unwell);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("output_stats");
    TCase *tests = tcase_create("output_stats");
    tcase_add_test(tests, statistics);
    tcase_add_test(tests, statistics_fit);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
