/* The output for people of a plan, of its passes, and of a comparison of policies. */
#include "client/emctl/output.h"
#include "tests/unit/output_fixture.h"
#include "tests/unit/run_suite.h"

#define PLAN(counts, steps)                                                                \
    "{\"model\":\"m\",\"policy\":\"lru\",\"capacityBytes\":1048576,\"steps\":[" steps "]," \
    "\"stepsTotal\":1," counts "}"
#define STEP(decision)                                                             \
    "{\"layer\":\"l\",\"decision\":\"" decision "\",\"hit\":false,\"bytes\":1024," \
    "\"victims\":0,\"victimBytes\":0}"

/* Counts of zero are left out. */
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
    expect(output_text.plan, &subject,
           PLAN("\"hits\":0,\"loaded\":1,\"mustUnload\":0,\"outOfMemory\":0,\"busy\":0,"
                "\"evictions\":0,\"flushes\":0,\"resident\":1,\"views\":1",
                STEP("loaded")),
           "LAYER DECISION    SIZE EVICTS EVICTED-SIZE\n"
           "l     loaded   1.0 KiB      -            -\n"
           "m into 1.0 MiB, lru: 1 loaded, 1 resident at the end\n"
           "views of it now: 1, whose layers stay\n");
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

/* Equal passes share a line; without times there is no column for them. */
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
           "POLICY  HITS READ/PASS\n"
           "a      50.0%   1.0 KiB\n"
           "bcd     0.0%   2.0 KiB\n"
           "m into 1.0 MiB, pass 1; best: a\n");
    /* The policy that takes the least time is best, not the one that reads least. */
    expect(output_text.plan_comparison, &subject,
           "[" RUN("a", PASS(1, 1, 1024, 2000)) "," RUN("b", PASS(0, 2, 2048, 1000)) "," RUN(
               "c", PASS(0, 2, 2048, 1000)) "]",
           "POLICY  HITS READ/PASS TIME/PASS PASSES/S\n"
           "a      50.0%   1.0 KiB   2.00 ms      500\n"
           "b       0.0%   2.0 KiB   1.00 ms     1000\n"
           "c       0.0%   2.0 KiB   1.00 ms     1000\n"
           "m into 1.0 MiB, pass 1; best: b, c\n");
    expect(output_text.plan_comparison, &subject,
           "[" RUN("a", PASS(1, 1, 1024, null)) "," RUN("b", PASS(1, 1, 1024, null)) "]",
           "POLICY  HITS READ/PASS\n"
           "a      50.0%   1.0 KiB\n"
           "b      50.0%   1.0 KiB\n"
           "m into 1.0 MiB, pass 1; all are as good\n");
    expect(output_text.plan_comparison, &subject, "[" RUN("a", "") "," RUN("b", "") "]", "");
    expect(output_text.plan_comparison, &subject, "[]", "");
}
END_TEST

/* At every width, every line except the sentences fits, and the most important columns are
 * there. */
START_TEST(plans_fit)
{
    json_t *replies = json_loads(
        "[" RUN("next-use", PASS(0, 2, 2048, 3000) "," PASS(1, 1, 1024, 1000)) "]", 0, NULL);

    ck_assert_ptr_nonnull(replies);
    for (unsigned width = 34; width < 120; width++) {
        size_t n_times = 0;
        open_output(&output_text, width);
        ck_assert_int_eq(output_text.plan_policy(&output, &subject, json_array_get(replies, 0)), 0);
        ck_assert_int_eq(output_text.plan_comparison(&output, &subject, replies), 0);
        char *text = close_output();
        for (const char *line = text; *line; line = next_line(line)) {
            size_t n = line_length(line);
            ck_assert_msg(memchr(line, ',', n) || n <= width, "%u: %s", width, line);
            n_times += memmem(line, n, "1.00 ms", 7) != NULL;
        }
        ck_assert_msg(width < 40 || n_times == 2, "%u", width);
        free(text);
    }
    json_decref(replies);
}
END_TEST

/* Invalid passes, and an invalid reply among several. */
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

int main(void)
{
    Suite *suite = suite_create("output_plan");
    TCase *tests = tcase_create("output_plan");
    tcase_add_test(tests, plans);
    tcase_add_test(tests, passes);
    tcase_add_test(tests, policies);
    tcase_add_test(tests, plans_fit);
    tcase_add_test(tests, wrong_passes);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
