/* Which fields each event has in the log. What watchers get is in
 * tests/integration/test_reasons.py. */
#include "daemon/methods/events.h"

#include "tests/unit/run_suite.h"
#include "tests/unit/scheduler_fixture.h"

static const struct requester loader = {"LoadModel", 1000, 4711};
static const struct requester unloader = {"UnloadLayer", 0, 42};
static char entries[4096]; /* "NAME=value " for each field, then "| message\n" */

static void sink(enum log_level level, const char *line, const struct log_field *fields, size_t n)
{
    size_t used = strlen(entries);
    (void)level;
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(entries + used, sizeof entries - used, "%s=%s ",
                                 fields[i].name + strlen("EDGEMIND_"), fields[i].value);
    used += (size_t)snprintf(entries + used, sizeof entries - used, "| %s\n", line);
    ck_assert_uint_lt(used, sizeof entries);
}

static struct events *begin(struct fixture *fixture, const struct policy *policy)
{
    struct events *events = events_new(NULL);
    ck_assert_ptr_nonnull(events);
    setup(fixture, 4 * PAGE, policy);
    scheduler_set_observer(fixture->scheduler, events_on_scheduler, events);
    log_set_sink(sink);
    log_set_level(LOG_LEVEL_DEBUG);
    return events;
}

static void end(struct fixture *fixture, struct events *events)
{
    scheduler_set_observer(fixture->scheduler, NULL, NULL);
    scheduler_free(fixture->scheduler);
    events_free(events);
    log_set_sink(NULL);
}

static void request(struct fixture *fixture, struct layer *layer, const struct requester *requester)
{
    struct verdict verdict;
    scheduler_set_requester(fixture->scheduler, requester);
    ck_assert_int_eq(scheduler_request(fixture->scheduler, layer, ON_FULL_EVICT, 1, &verdict), 0);
    scheduler_set_requester(fixture->scheduler, NULL);
    verdict_done(&verdict);
    entries[0] = '\0';
    scheduler_complete(fixture->scheduler, layer, 2);
}

static void ask_and_keep(struct fixture *fixture, struct layer *layer,
                         const struct requester *requester)
{
    struct verdict verdict;
    entries[0] = '\0';
    scheduler_set_requester(fixture->scheduler, requester);
    ck_assert_int_eq(scheduler_request(fixture->scheduler, layer, ON_FULL_EVICT, 3, &verdict), 0);
    scheduler_set_requester(fixture->scheduler, NULL);
    verdict_done(&verdict);
}

START_TEST(test_eviction)
{
    struct fixture fixture;
    struct events *events = begin(&fixture, &policy_lru);
    struct model *a = ADD_MODEL(&fixture, "a", 2, 2), *b = ADD_MODEL(&fixture, "b", 2);
    request(&fixture, &a->layers[0], &loader);
    request(&fixture, &a->layers[1], &loader);
    ck_assert_str_eq(entries, "EVENT=layer-loaded MODEL=a LAYER=l1 | l1 of a loaded, 8.0 KiB\n");

    ask_and_keep(&fixture, &b->layers[0], &loader);
    ck_assert_str_eq(entries,
                     "EVENT=layer-evicted MODEL=a LAYER=l0 TO=b/l0 POLICY=lru USER=1000 PID=4711 "
                     "METHOD=LoadModel | l0 of a evicted, 8.0 KiB, to make room for b/l0, which "
                     "user 1000 (pid 4711) requested with LoadModel; policy lru\n"
                     "EVENT=layer-loading MODEL=b LAYER=l0 USER=1000 PID=4711 METHOD=LoadModel | "
                     "l0 of b is loading, 8.0 KiB\n");
    scheduler_complete(fixture.scheduler, &b->layers[0], 4);

    entries[0] = '\0';
    scheduler_set_requester(fixture.scheduler, &unloader);
    ck_assert_int_eq(scheduler_unload_layer(fixture.scheduler, &a->layers[1]), 0);
    ck_assert_str_eq(
        entries, "EVENT=layer-evicted MODEL=a LAYER=l1 USER=0 PID=42 METHOD=UnloadLayer | l1 of "
                 "a evicted, 8.0 KiB, on request of user 0 (pid 42) with UnloadLayer\n");
    end(&fixture, events);
}
END_TEST

START_TEST(test_flush_and_policy)
{
    struct fixture fixture;
    struct events *events = begin(&fixture, &policy_flush_all);
    struct model *a = ADD_MODEL(&fixture, "a", 2, 2), *b = ADD_MODEL(&fixture, "b", 2);
    request(&fixture, &a->layers[0], &loader);
    request(&fixture, &a->layers[1], &loader);
    ask_and_keep(&fixture, &b->layers[0], &unloader);
    ck_assert_ptr_nonnull(
        strstr(entries, "EVENT=flushed TO=b/l0 POLICY=flush-all USER=0 PID=42 METHOD=UnloadLayer | "
                        "2 layers evicted, 16.0 KiB, to make room for b/l0, which user 0 (pid 42) "
                        "requested with UnloadLayer; policy flush-all\n"));

    entries[0] = '\0';
    scheduler_set_policy(fixture.scheduler, &policy_lru);
    ck_assert_str_eq(entries, "EVENT=policy-changed FROM=flush-all TO=lru | policy changed from "
                              "flush-all to lru\n");
    scheduler_complete(fixture.scheduler, &b->layers[0], 4);
    end(&fixture, events);
}
END_TEST

/* With the longest names the reason is still complete. */
START_TEST(test_long_names)
{
    struct fixture fixture;
    struct events *events = begin(&fixture, &policy_lru);
    char name[DEFINITION_NAME_MAX + 1];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct model *a = ADD_MODEL(&fixture, name, 4);
    name[0] = 'o';
    struct model *b = ADD_MODEL(&fixture, name, 4);
    request(&fixture, &a->layers[0], &loader);
    ask_and_keep(&fixture, &b->layers[0], &loader);
    ck_assert_ptr_nonnull(
        strstr(entries, "user 1000 (pid 4711) requested with LoadModel; policy lru\n"));
    scheduler_complete(fixture.scheduler, &b->layers[0], 4);
    end(&fixture, events);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("events");
    TCase *tcase = tcase_create("events");
    tcase_add_test(tcase, test_eviction);
    tcase_add_test(tcase, test_flush_and_policy);
    tcase_add_test(tcase, test_long_names);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
