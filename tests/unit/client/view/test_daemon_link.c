/* The view library's connection while jansson gets no memory: every allocation of a call fails
 * once, alone or with all that follow. The call then returns -ENOMEM and can be repeated, loses the
 * connection, or does what it does otherwise; what the daemon hears is a whole call or none. */
#include "client/view/daemon_link.h"

#include "tests/unit/failing_json.h"
#include "tests/unit/played_daemon.h"
#include "tests/unit/run_suite.h"

#include <stdint.h>

/* Longer than what jansson keeps without an allocation. */
#define MODEL   "a-model-whose-name-is-long-\xc3\xa9"
#define LAYER   "a-layer-whose-name-is-long.0"
#define VIEW    "a-view-whose-name-is-long"
#define FILE_ID "a-file-whose-identity-is-long"
#define LEASE   "a-lease-whose-name-is-long"
#define FIND_MODEL                                                                         \
    "{\"method\":\"io.edgemind.manager.FindModel\",\"parameters\":{\"fileDescriptor\":0}," \
    "\"more\":true}"
#define NAMED "\"model\":\"" MODEL "\",\"layer\":\"" LAYER "\",\"waitUsec\":59999999"

static struct daemon_link daemon_link;
static struct view view;
static char begin_view[CALL_BYTES_MAX];

static int declare(void)
{
    int r = daemon_link_declare(&daemon_link, &view);

    if (r == 0)
        ck_assert_str_eq(json_string_value(view.id), VIEW);
    ck_assert((r == 0) == (view.declared == daemon_link.serial));
    return r;
}

static int end_view(void)
{
    view.declared = daemon_link.serial;
    return daemon_link_end_view(&daemon_link, &view);
}

static int acquire(void)
{
    json_t *reply = NULL;

    view.declared = daemon_link.serial;
    int r = daemon_link_acquire(&daemon_link, &view, LAYER, 59999999, 7, &reply);
    if (r == 0)
        ck_assert_str_eq(json_string_value(json_object_get(reply, "lease")), LEASE);
    json_decref(reply);
    return r;
}

static int release(void)
{
    return daemon_link_release(&daemon_link, view.id); /* any text will do */
}

static int find_model(void)
{
    struct view found = {0};
    unit_table_init(&found.table, page, 0, 4 * page);
    int r = daemon_link_find_model(arenas[0], &found);

    if (r == 0) {
        ck_assert_str_eq(found.model, MODEL);
        ck_assert_str_eq(found.file_id, FILE_ID);
        ck_assert_uint_eq(found.table.n_pieces, 1);
        ck_assert_str_eq(found.table.names[0], LAYER);
    }
    unit_table_done(&found.table);
    free(found.model);
    free(found.file_id);
    return r;
}

static const struct {
    const char *name;
    int (*call)(void);
    const char *answer; /* NULL: none */
    const char *heard;
} cases[] = {
    {"declare", declare, "{\"parameters\":{\"view\":\"" VIEW "\"}}", begin_view},
    {"end_view", end_view, NULL,
     "{\"method\":\"io.edgemind.manager.EndView\",\"parameters\":{\"view\":\"" VIEW
     "\"},\"oneway\":true}"},
    {"acquire", acquire, "{\"parameters\":{\"lease\":\"" LEASE "\"" WITH_ARENA "}}",
     CALL("Acquire", "{" NAMED ",\"view\":\"" VIEW "\",\"fill\":7}")},
    {"release", release, NULL, RELEASE(VIEW)},
};

static void set_up(void)
{
    setup();
    setenv("EDGEMIND_SOCKET", address.sun_path, 1);
    new_arena(10);
    view = (struct view){
        .model = (char *)(uintptr_t)MODEL, .file_id = (char *)(uintptr_t)FILE_ID, .n_bytes = 3};
    snprintf(begin_view, sizeof begin_view,
             CALL("BeginView", "{\"model\":\"" MODEL "\",\"program\":\"%s\",\"bytes\":3,"
                               "\"outsideBytes\":3,\"file\":\"" FILE_ID "\"}"),
             program_invocation_short_name);
}

static void begin_anew(void)
{
    hang_up();
    daemon_link.arena_fd = -1;
    ck_assert_int_eq(daemon_link_open(&daemon_link), 0);
    server = take_client();
    view.id = json_string(VIEW);
}

static void end(void)
{
    json_decref(view.id);
    view.id = NULL;
    if (daemon_link.arena_fd >= 0)
        close(daemon_link.arena_fd);
    daemon_link_close(&daemon_link);
}

/* Whether the n-th allocation failed, and not alone if `mode` is larger. */
static bool call_without_memory(int (*call)(void), size_t n, size_t mode, int *ret)
{
    fail_some(n, mode);
    *ret = call();
    return fail_no_more();
}

START_TEST(out_of_memory)
{
    static const size_t modes[] = {1, SIZE_MAX};

    for (size_t mode = 0; mode < 2; mode++) {
        bool has_failed = true;
        for (size_t n = 0; has_failed; n++) {
            char heard[CALL_BYTES_MAX] = "";
            int r;
            begin_anew();
            if (cases[_i].answer)
                say_to(server, cases[_i].answer,
                       strstr(cases[_i].answer, WITH_ARENA) ? arenas[0] : -1);
            has_failed = call_without_memory(cases[_i].call, n, modes[mode], &r);
            ck_assert_msg(r == 0 || (has_failed && (r == -ENOMEM || r == -EPIPE)),
                          "%s, allocation %zu: %d", cases[_i].name, n, r);
            ck_assert_msg((daemon_link.varlink == NULL) == (r == -EPIPE), "%s, allocation %zu: %d",
                          cases[_i].name, n, r);
            recv(server, heard, sizeof heard, MSG_DONTWAIT);
            ck_assert_str_eq(heard, r == -ENOMEM ? "" : cases[_i].heard);
            end();
        }
    }
}
END_TEST

static void *answer_one_call(void *answer)
{
    int client = take_client();
    char byte;

    if (recv(client, &byte, 1, MSG_PEEK) == 1) {
        ck_assert_str_eq(hear_from(client), FIND_MODEL);
        say_to(client, answer, -1);
    }
    close(client);
    return NULL;
}

START_TEST(out_of_memory_in_find_model)
{
    static const size_t modes[] = {1, SIZE_MAX};
    char answer[512];

    snprintf(answer, sizeof answer,
             "{\"parameters\":{\"model\":\"" MODEL "\",\"source\":0,\"file\":\"" FILE_ID
             "\",\"pieces\":[{\"layer\":\"" LAYER
             "\",\"index\":0,\"fileOffset\":%zu,\"length\":%zu}]}}",
             page, page);
    for (size_t mode = 0; mode < 2; mode++) {
        bool has_failed = true;
        for (size_t n = 0; has_failed; n++) {
            pthread_t thread;
            int r;
            ck_assert_int_eq(pthread_create(&thread, NULL, answer_one_call, answer), 0);
            has_failed = call_without_memory(find_model, n, modes[mode], &r);
            ck_assert_msg(r == 0 || (has_failed && r == -ENOMEM), "allocation %zu: %d", n, r);
            pthread_join(thread, NULL);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("daemon_link");
    TCase *tests = tcase_create("daemon_link");

    tcase_add_checked_fixture(tests, set_up, teardown);
    tcase_add_loop_test(tests, out_of_memory, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(tests, out_of_memory_in_find_model);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
