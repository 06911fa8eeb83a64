/* What emctl top makes of the daemon's replies. */
#include "client/emctl/top_data.h"
#include "common/clock.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <string.h>

enum { SECOND = 1000 * 1000 };

static struct top_data data;

static json_t *usage_of(const char *name, json_int_t resident_bytes, json_int_t passes)
{
    return json_pack("{s:s, s:i, s:i, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I}",
                     "name", name, "layers", 2, "residentLayers", 1, "bytes", (json_int_t)100,
                     "residentBytes", resident_bytes, "leasedBytes", 0, "loadingBytes", 0,
                     "streamedBytes", 0, "leases", 0, "runs", 0, "hits", 1, "misses", 2,
                     "bytesLoaded", 3, "passes", passes);
}

/* Takes a reply of Usage with these models, given as "NAME NAME". */
static bool take(const char *names, json_int_t total, json_int_t change, bool more)
{
    json_t *models = json_array();
    char copy[256], *rest = NULL;
    bool told_more;

    snprintf(copy, sizeof copy, "%s", names);
    for (char *name = strtok_r(copy, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
        json_array_append_new(models, usage_of(name, 10, 0));
    json_t *reply = json_pack("{s:o, s:I, s:I, s:b}", "models", models, "total", total, "change",
                              change, "more", more);
    ck_assert_int_eq(top_data_take_usage(&data, reply, &told_more), 0);
    ck_assert(told_more == more);
    json_decref(reply);
    return data.listing;
}

static const char *known(void)
{
    static char text[256];
    text[0] = '\0';
    for (size_t i = 0; i < data.n_models; i++) {
        char one[32];
        snprintf(one, sizeof one, " %s:%c", data.models[i].name, data.models[i].key);
        strcat(text, one);
    }
    return text;
}

START_TEST(test_models)
{
    top_data_begin_listing(&data);
    ck_assert(take("b a", 3, 2, true)); /* goes on */
    ck_assert(!take("c", 3, 3, false));
    ck_assert_str_eq(known(), " a:a b:b c:c");
    ck_assert_uint_eq(data.change, 3);
    ck_assert(!take("b", 3, 4, false)); /* one has changed */
    ck_assert_str_eq(known(), " a:a b:b c:c");

    /* One is gone: the total tells, and a listing finds out which. Letters stay. */
    ck_assert(take("", 2, 4, false));
    ck_assert_uint_eq(data.change, 0);
    ck_assert_str_eq(known(), " a:a b:b c:c");
    ck_assert(!take("a c", 2, 4, false));
    ck_assert_str_eq(known(), " a:a c:c");
    ck_assert(!take("d", 3, 5, false));
    ck_assert_str_eq(known(), " a:a c:c d:b");
    top_data_done(&data);
}
END_TEST

START_TEST(test_letters)
{
    char names[256] = "", name[16];
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "m%02d ", i);
        strcat(names, name);
    }
    top_data_begin_listing(&data);
    ck_assert(!take(names, 30, 30, false));
    ck_assert_int_eq(data.models[25].key, 'z');
    ck_assert_int_eq(data.models[26].key, '*');

    /* The letter of a model that is no longer in the arena goes to the first that has none. */
    bool more;
    json_t *reply = json_pack("{s:[o], s:i, s:i, s:b}", "models", usage_of("m03", 0, 0), "total",
                              30, "change", 31, "more", 0);
    ck_assert_int_eq(top_data_take_usage(&data, reply, &more), 0);
    json_decref(reply);
    ck_assert_int_eq(data.models[3].key, '*');
    ck_assert_int_eq(data.models[26].key, 'd');
    top_data_done(&data);
}
END_TEST

START_TEST(test_bad_replies)
{
    static const char *const texts[] = {"{}",
                                        "{\"models\":3,\"total\":0,\"change\":0,\"more\":false}",
                                        "{\"models\":[{}],\"total\":0,\"change\":0,\"more\":false}",
                                        "{\"models\":[3],\"total\":0,\"change\":0,\"more\":false}"};
    bool more;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *reply = json_loads(texts[i], 0, NULL);
        ck_assert_int_eq(top_data_take_usage(&data, reply, &more), -EBADMSG);
        ck_assert_int_eq(top_data_take_stats(&data, reply, SECOND), -EBADMSG);
        ck_assert_int_eq(top_data_take_views(&data, reply), -EBADMSG);
        ck_assert_int_eq(top_data_take_events(&data, reply), -EBADMSG);
        ck_assert_int_eq(top_data_take_history(&data, reply, SECOND), -EBADMSG);
        json_decref(reply);
    }
    top_data_done(&data);
}
END_TEST

/* With memory that is short, if `trimmed_bytes` is not negative. */
static void take_stats_short(json_int_t rss_bytes, json_int_t trimmed_bytes, uint64_t now_usec)
{
    json_t *reply = json_pack(
        "{s:{s:i, s:i, s:i}, s:{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i},"
        " s:{s:I, s:i, s:i, s:b, s:f}, s:{s:s, s:i, s:i}}",
        "arena", "capacityBytes", 100, "usedBytes", 10, "leasedBytes", 0, "scheduler", "policy",
        "lru", "onFull", "evict", "models", 1, "layersLoaded", 1, "layersLoading", 0, "runs", 0,
        "waiting", 0, "hits", 0, "misses", 0, "evictions", 0, "bytesLoaded", 0, "monitor",
        "rssBytes", rss_bytes, "swapBytes", 0, "overheadBytes", 0, "aligned", 1, "cpuPercent", 1.5,
        "daemon", "version", "1", "pid", 7, "uptimeUsec", 8);
    ck_assert_ptr_nonnull(reply);
    if (trimmed_bytes >= 0)
        ck_assert_int_eq(
            json_object_set_new(reply, "pressure",
                                json_pack("{s:b, s:I}", "short", 1, "trimmedBytes", trimmed_bytes)),
            0);
    ck_assert_int_eq(top_data_take_stats(&data, reply, now_usec), 0);
    json_decref(reply);
}

static void take_stats(json_int_t rss_bytes, uint64_t now_usec)
{
    take_stats_short(rss_bytes, -1, now_usec);
}

START_TEST(test_shortage)
{
    take_stats_short(50, 7, SECOND);
    ck_assert(data.stats.is_short);
    ck_assert_int_eq(data.stats.trimmed_bytes, 7);
    /* An older daemon does not tell it. */
    take_stats(50, SECOND);
    ck_assert(!data.stats.is_short);
    ck_assert_int_eq(data.stats.trimmed_bytes, 0);
}
END_TEST

START_TEST(test_chart)
{
    ck_assert_int_eq(top_data_rss_bytes(&data, 0), 0);
    take_stats(50, 100 * SECOND);
    take_stats(70, 100 * SECOND + 1); /* the largest of a second counts */
    take_stats(60, 100 * SECOND + 2);
    ck_assert_int_eq(top_data_rss_bytes(&data, 0), 70);
    ck_assert_int_eq(top_data_rss_bytes(&data, 1), 0);
    take_stats(80, 103 * SECOND); /* a second without a frame has the last figure */
    ck_assert_int_eq(top_data_rss_bytes(&data, 0), 80);
    ck_assert_int_eq(top_data_rss_bytes(&data, 2), 70);
    top_data_take_absence(&data, 104 * SECOND);
    top_data_take_absence(&data, 106 * SECOND);
    take_stats(90, 107 * SECOND);
    ck_assert_int_eq(top_data_rss_bytes(&data, 0), 90);
    for (uint64_t i = 1; i <= 3; i++)
        ck_assert_int_eq(top_data_rss_bytes(&data, i), 0);
    ck_assert_int_eq(top_data_rss_bytes(&data, 4), 80);
    take_stats(30, 107 * SECOND + (uint64_t)TOP_SECONDS_MAX * SECOND); /* all else is too old */
    ck_assert_int_eq(top_data_rss_bytes(&data, 0), 30);
    ck_assert_int_eq(top_data_rss_bytes(&data, 1), 0);
    ck_assert_int_eq(top_data_rss_bytes(&data, TOP_SECONDS_MAX), 0);
}
END_TEST

START_TEST(test_history)
{
    json_int_t now = (json_int_t)clock_realtime_usec();
    json_t *reply = json_pack(
        "{s:I, s:[{s:I, s:I, s:I}, {s:I, s:I, s:I}]}", "stepUsec", (json_int_t)10 * SECOND,
        "points", "atUsec", now - (json_int_t)40 * SECOND, "rssBytes", (json_int_t)5,
        "arenaFileBytes", (json_int_t)4, "atUsec", now - (json_int_t)7 * SECOND, "rssBytes",
        (json_int_t)6, "arenaFileBytes", (json_int_t)4);

    ck_assert_int_eq(top_data_take_history(&data, reply, (uint64_t)5000 * SECOND), 0);
    json_decref(reply);
    ck_assert_uint_eq(data.n_history, 2);
    ck_assert_int_eq(data.history[1].rss_bytes, 6);
    take_stats(9, (uint64_t)5000 * SECOND);
    ck_assert_int_eq(top_data_rss_bytes(&data, 0), 9);
    ck_assert_int_eq(top_data_rss_bytes(&data, 5), 6);
    ck_assert_int_eq(top_data_rss_bytes(&data, 20), 0); /* between the steps nothing is known */
    ck_assert_int_eq(top_data_rss_bytes(&data, 35), 5);
    ck_assert_int_eq(top_data_rss_bytes(&data, 50), 0);
}
END_TEST

START_TEST(test_passes)
{
    bool more;
    json_int_t passes = 1000; /* from before top began: they do not count */

    top_data_begin_listing(&data);
    for (uint64_t second = 1; second <= 200; second++, passes += 2) {
        json_t *reply = json_pack("{s:[o], s:i, s:I, s:b}", "models", usage_of("m", 10, passes),
                                  "total", 1, "change", (json_int_t)second, "more", 0);
        ck_assert_int_eq(top_data_take_usage(&data, reply, &more), 0);
        json_decref(reply);
        take_stats(1, second * SECOND);
        if (second > 100) {
            ck_assert_double_ge(data.models[0].passes_per_minute, 115);
            ck_assert_double_le(data.models[0].passes_per_minute, 125);
        }
        ck_assert_double_le(data.models[0].passes_per_minute, 130);
    }
    for (uint64_t second = 201; second <= 300; second++)
        take_stats(1, second * SECOND);
    ck_assert(data.models[0].passes_per_minute == 0);
    top_data_done(&data);
}
END_TEST

START_TEST(test_events)
{
    char long_name[1000];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';

    for (int i = 0; i < 2 * TOP_EVENTS_MAX; i++) {
        json_t *reply =
            json_pack("{s:[{s:s, s:i, s:s, s:s}], s:i}", "events", "event", "e", "atUsec", i,
                      "model", long_name, "message", long_name, "missed", 0);
        ck_assert_int_eq(top_data_take_events(&data, reply), 0);
        json_decref(reply);
    }
    ck_assert_uint_eq(data.n_events, 2 * TOP_EVENTS_MAX);
    ck_assert_uint_eq(data.events[0].at_usec, TOP_EVENTS_MAX);
    ck_assert_uint_eq(strlen(data.events[0].text), TOP_EVENT_TEXT_MAX - 1);
    json_t *reply = json_pack("{s:[], s:i}", "events", "missed", 17);
    ck_assert_int_eq(top_data_take_events(&data, reply), 0);
    json_decref(reply);
    ck_assert_ptr_nonnull(strstr(data.events[0].text, "17"));
}
END_TEST

static void begin(void)
{
    data = (struct top_data){0};
}

int main(void)
{
    Suite *suite = suite_create("top_data");
    TCase *tcase = tcase_create("top_data");
    tcase_add_checked_fixture(tcase, begin, NULL);
    tcase_add_test(tcase, test_models);
    tcase_add_test(tcase, test_letters);
    tcase_add_test(tcase, test_bad_replies);
    tcase_add_test(tcase, test_shortage);
    tcase_add_test(tcase, test_chart);
    tcase_add_test(tcase, test_history);
    tcase_add_test(tcase, test_passes);
    tcase_add_test(tcase, test_events);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
