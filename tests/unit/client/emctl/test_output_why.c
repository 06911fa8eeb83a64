/* The sentences of why, with the times cut out. */
#include "client/emctl/output.h"
#include "common/clock.h"
#include "tests/unit/output_fixture.h"
#include "tests/unit/run_suite.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
static const struct subject model = {.model = "m"};

/* Replaces "at 14:03:07" by "at T", and a date by D. */
static char *without_times(char *text)
{
    char *to = text;
    for (const char *from = text; *from;) {
        int n = 0, a, b, c;
        if (sscanf(from, "at %2d:%2d:%2d%n", &a, &b, &c, &n) == 3 && n == 11) {
            to = stpcpy(to, "at T");
            from += n;
        } else if (sscanf(from, "on %4d-%2d-%2d%n", &a, &b, &c, &n) == 3 && n == 13) {
            to = stpcpy(to, "on D");
            from += n;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    return text;
}

/* `head` is the beginning of the reply. `reason` lacks its time and its last brace, or is empty. */
static void check(const struct subject *about, const char *head, unsigned ago_sec,
                  const char *reason, const char *expected)
{
    char *reply;
    uint64_t at_usec = clock_realtime_usec() - ago_sec * UINT64_C(1000000);
    char time[48];
    int r;

    snprintf(time, sizeof time, ", \"atUsec\": %" PRIu64 "}", at_usec);
    ck_assert_int_gt(asprintf(&reply,
                              "{%s, \"sinceAtUsec\": %" PRIu64 ", \"reasonsTotal\": %d, "
                              "\"reasons\": [%s%s]}",
                              head, at_usec, *reason ? 1 : 0, reason, *reason ? time : ""),
                     0);
    char *text = without_times(shown(&output_text, output_text.why, about, reply, &r));
    ck_assert_int_eq(r, 0);
    ck_assert_str_eq(text, expected);
    free(text);
    free(reply);
}

#define ABSENT "\"state\": \"absent\", \"wasLoaded\": true"
#define NEVER  "\"state\": \"absent\", \"wasLoaded\": false"
#define MODEL  "\"registered\": true, \"layers\": 3, \"residentLayers\": 1"
#define WHO    ", \"user\": \"4294967294\", \"uid\": 4294967294, \"pid\": 7, \"method\": \"LoadLayer\""
#define NAME   "4294967294 (pid 7)"

START_TEST(test_layer)
{
    check(
        &subject, ABSENT, 5, "{\"what\": \"evicted\", \"to\": \"n/x\", \"policy\": \"lru\"" WHO,
        "m/l is not in the arena.\nIt was evicted at T (5 s ago) to make room for n/x, which " NAME
        " requested with LoadLayer. Policy: lru.\n");
    check(&subject, ABSENT, 10 * MINUTE, "{\"what\": \"evicted\"" WHO,
          "m/l is not in the arena.\nIt was evicted at T (10 minutes ago) because " NAME
          " called LoadLayer.\n");
    check(&subject, ABSENT, 5, "{\"what\": \"trimmed\"",
          "m/l is not in the arena.\nIt was evicted at T (5 s ago) because memory was short. "
          "on-pressure: trim.\n");
    check(&subject, ABSENT, 5 * HOUR, "{\"what\": \"flushed\", \"layers\": 2",
          "m/l is not in the arena.\nIt was evicted at T (5 hours ago), as one of 2 layers that "
          "nobody "
          "held, on request.\n");
    check(&subject, NEVER, 3 * DAY, "{\"what\": \"abandoned\", \"layer\": \"l\"",
          "m/l is not in the arena.\nThe load of it ended on D at T before all bytes were read: it "
          "failed or was cancelled.\nIt has not been loaded since the model was registered or the "
          "daemon started.\n");
    check(&subject, NEVER, 5, "{\"what\": \"refused\", \"decision\": \"busy\"" WHO,
          "m/l is not in the arena.\nA request for it by " NAME
          " with LoadLayer was refused at T (5 s "
          "ago): there was no room beside layers that clients held or that were being loaded.\nIt "
          "has "
          "not been loaded since the model was registered or the daemon started.\n");
    check(&subject, ABSENT, 5, "",
          "m/l is not in the arena.\nThe daemon has its decisions since then only: at T (5 s "
          "ago).\n");
    check(&subject, "\"state\": \"loading\"", 5, "", "m/l is being loaded.\n");
}
END_TEST

START_TEST(test_model)
{
    check(&model, MODEL, 5,
          "{\"what\": \"flushed\", \"layers\": 1, \"to\": \"n/x\", \"policy\": \"lru\"",
          "m is registered; 1 of its 3 layers are in the arena.\nAll 1 layer of all models that "
          "nobody "
          "held were evicted at T (5 s ago) to make room for n/x. Policy: lru.\n");
    check(&model, "\"registered\": false", 5,
          "{\"what\": \"refused\", \"layer\": \"x\", \"decision\": \"out-of-memory\"",
          "m is not registered.\nA request for x was refused at T (5 s ago): it is larger than the "
          "whole arena.\n");
    check(&model, MODEL, 5, "{\"what\": \"later\", \"layer\": \"x\"",
          "m is registered; 1 of its 3 layers are in the arena.\nx: later at T (5 s ago).\n");
}
END_TEST

START_TEST(test_bad_reply)
{
    int r;
    free(shown(&output_text, output_text.why, &subject, "{\"reasons\": 3}", &r));
    ck_assert_int_eq(r, -EBADMSG);
    free(shown(&output_text, output_text.why, &subject, "{\"reasons\": [3]}", &r));
    ck_assert_int_eq(r, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("output-why");
    TCase *tcase = tcase_create("output-why");
    tcase_add_test(tcase, test_layer);
    tcase_add_test(tcase, test_model);
    tcase_add_test(tcase, test_bad_reply);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
