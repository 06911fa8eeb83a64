/* Calls and replies: valid ones, ones that close a connection, and that parsed texts are encoded
 * again without a change. */
#include "proto/message.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int parse_call(const char *text, struct message_call *ret)
{
    return message_parse_call(text, strlen(text), ret);
}

START_TEST(test_call)
{
    struct message_call call;

    ck_assert_int_eq(
        parse_call("{\"method\":\"a.b.C\",\"parameters\":{\"x\":1},\"more\":true}", &call), 0);
    ck_assert_str_eq(call.method, "a.b.C");
    ck_assert_int_eq(json_integer_value(json_object_get(call.parameters, "x")), 1);
    ck_assert(call.more && !call.oneway && !call.upgrade);
    message_call_done(&call);
    ck_assert_ptr_null(call.root);
    message_call_done(&call);
}
END_TEST

START_TEST(test_call_without_parameters)
{
    static const char *const texts[] = {"{\"method\":\"C\"}",
                                        "{\"method\":\"C\",\"parameters\":null}",
                                        " {\"parameters\":{} , \"method\":\"C\"}\n"};

    for (size_t i = 0; i < 3; i++) {
        struct message_call call;
        ck_assert_int_eq(parse_call(texts[i], &call), 0);
        ck_assert(json_is_object(call.parameters));
        ck_assert_uint_eq(json_object_size(call.parameters), 0);
        message_call_done(&call);
    }
}
END_TEST

START_TEST(test_call_flags)
{
    static const struct {
        const char *text;
        bool oneway, more, upgrade;
    } cases[] = {
        {"{\"method\":\"C\",\"oneway\":false,\"more\":false,\"upgrade\":false}", false, false,
         false},
        {"{\"method\":\"C\",\"oneway\":true,\"more\":false}", true, false, false},
        {"{\"method\":\"C\",\"more\":true,\"upgrade\":false}", false, true, false},
        {"{\"method\":\"C\",\"upgrade\":true}", false, false, true},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct message_call call;
        ck_assert_int_eq(parse_call(cases[i].text, &call), 0);
        ck_assert_int_eq(call.oneway, cases[i].oneway);
        ck_assert_int_eq(call.more, cases[i].more);
        ck_assert_int_eq(call.upgrade, cases[i].upgrade);
        message_call_done(&call);
    }
}
END_TEST

START_TEST(test_bad_calls)
{
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "}",
        "null",
        "1",
        "\"C\"",
        "[]",
        "[{\"method\":\"C\"}]",
        "{}",
        "{\"method\":null}",
        "{\"method\":1}",
        "{\"method\":{}}",
        "{\"parameters\":{}}",
        "{\"method\":\"C\",\"parameters\":[]}",
        "{\"method\":\"C\",\"parameters\":\"\"}",
        "{\"method\":\"C\",\"parameters\":false}",
        "{\"method\":\"C\",\"more\":1}",
        "{\"method\":\"C\",\"more\":null}",
        "{\"method\":\"C\",\"oneway\":\"true\"}",
        "{\"method\":\"C\",\"upgrade\":[]}",
        "{\"method\":\"C\",\"more\":true,\"oneway\":true}",
        "{\"method\":\"C\",\"more\":true,\"upgrade\":true}",
        "{\"method\":\"C\",\"oneway\":true,\"upgrade\":true}",
        "{\"method\":\"C\",\"extra\":1}",
        "{\"method\":\"C\",\"method\":\"C\"}",
        "{\"method\":\"C\",\"parameters\":{\"a\":1,\"a\":1}}",
        "{\"method\":\"C\"} x",
        "{\"method\":\"C\"}{}",
        "{\"method\":\"\\u0000\"}",
        "{\"method\":\"\xff\"}",
        "{\"method\":\"\xc0\xaf\"}",
        "{\"method\":\"C\",}",
        "{'method':'C'}",
        "{\"method\":\"C\",\"parameters\":{\"x\":NaN}}",
        "{\"method\":\"C\",\"parameters\":{\"x\":99999999999999999999}}",
        "{\"method\":\"C\",\"parameters\":{\"x\":1e999}}",
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct message_call call;
        ck_assert_msg(parse_call(texts[i], &call) == -EBADMSG, "%s", texts[i]);
    }
    struct message_call call;
    ck_assert_int_eq(message_parse_call("{\"method\":\"C\"}\0", 15, &call), -EBADMSG);
}
END_TEST

/* A call whose parameters hold one value nested so that the whole has `depth` levels. */
static char *nested_call(size_t depth, size_t *ret_bytes)
{
    static const char head[] = "{\"method\":\"C\",\"parameters\":{\"x\":", tail[] = "}}";
    size_t n = depth - 2;
    char *text = malloc(sizeof head + sizeof tail + 2 * n);

    strcpy(text, head);
    memset(text + sizeof head - 1, '[', n);
    memset(text + sizeof head - 1 + n, ']', n);
    strcpy(text + sizeof head - 1 + 2 * n, tail);
    *ret_bytes = strlen(text);
    return text;
}

START_TEST(test_call_depth)
{
    struct message_call call;
    size_t n_bytes;

    char *text = nested_call(MESSAGE_DEPTH_MAX, &n_bytes);
    ck_assert_int_eq(message_parse_call(text, n_bytes, &call), 0);
    message_call_done(&call);
    free(text);
    text = nested_call(MESSAGE_DEPTH_MAX + 1, &n_bytes);
    ck_assert_int_eq(message_parse_call(text, n_bytes, &call), -E2BIG);
    free(text);
}
END_TEST

static char *padded_call(size_t n_bytes)
{
    static const char call[] = "{\"method\":\"C\"}";
    char *text = malloc(n_bytes + 1);

    memset(text, ' ', n_bytes);
    memcpy(text, call, sizeof call - 1);
    text[n_bytes] = '\0';
    return text;
}

START_TEST(test_call_length)
{
    struct message_call call;

    char *text = padded_call(MESSAGE_BYTES_MAX);
    ck_assert_int_eq(message_parse_call(text, MESSAGE_BYTES_MAX, &call), 0);
    message_call_done(&call);
    free(text);
    text = padded_call(MESSAGE_BYTES_MAX + 1);
    ck_assert_int_eq(message_parse_call(text, MESSAGE_BYTES_MAX + 1, &call), -E2BIG);
    free(text);
}
END_TEST

START_TEST(test_full_call)
{
    /* As many values as 64 KiB can hold. */
    static const char head[] = "{\"method\":\"C\",\"parameters\":{\"x\":[1";
    char *text = padded_call(MESSAGE_BYTES_MAX);
    size_t i = sizeof head - 1;
    struct message_call call;

    memcpy(text, head, i);
    for (; i + 5 <= MESSAGE_BYTES_MAX; i += 2)
        memcpy(text + i, ",1", 2);
    memcpy(text + i, "]}}", 3);
    ck_assert_int_eq(parse_call(text, &call), 0);
    message_call_done(&call);
    free(text);
}
END_TEST

START_TEST(test_reply)
{
    static const char text[] = "{\"parameters\":{\"x\":[]},\"continues\":true}";
    static const char error[] = "{\"error\":\"a.b.E\"}";
    struct message_reply reply;

    ck_assert_int_eq(message_parse_reply(text, strlen(text), &reply), 0);
    ck_assert_ptr_null(reply.error);
    ck_assert(reply.continues);
    ck_assert(json_is_array(json_object_get(reply.parameters, "x")));
    message_reply_done(&reply);

    ck_assert_int_eq(message_parse_reply(error, strlen(error), &reply), 0);
    ck_assert_str_eq(reply.error, "a.b.E");
    ck_assert(!reply.continues);
    ck_assert_uint_eq(json_object_size(reply.parameters), 0);
    message_reply_done(&reply);

    ck_assert_int_eq(message_parse_reply("{}", 2, &reply), 0);
    message_reply_done(&reply);
}
END_TEST

START_TEST(test_bad_replies)
{
    static const char *const texts[] = {"",
                                        "[]",
                                        "{\"error\":1}",
                                        "{\"continues\":1}",
                                        "{\"parameters\":1}",
                                        "{\"method\":\"C\"}",
                                        "{\"error\":\"E\",\"error\":\"E\"}"};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct message_reply reply;
        ck_assert_msg(message_parse_reply(texts[i], strlen(texts[i]), &reply) == -EBADMSG, "%s",
                      texts[i]);
    }
}
END_TEST

START_TEST(test_format_call)
{
    json_t *parameters = json_pack("{s:i}", "x", 1);
    char *text;
    size_t n_bytes;

    ck_assert_int_eq(message_format_call("a.B", parameters, false, false, &text, &n_bytes), 0);
    ck_assert_str_eq(text, "{\"method\":\"a.B\",\"parameters\":{\"x\":1}}");
    ck_assert_uint_eq(n_bytes, strlen(text));
    free(text);
    ck_assert_uint_eq(parameters->refcount, 1);
    json_decref(parameters);

    ck_assert_int_eq(message_format_call("a\"\n.B", NULL, true, false, &text, &n_bytes), 0);
    ck_assert_str_eq(text, "{\"method\":\"a\\\"\\n.B\",\"oneway\":true}");
    free(text);
    ck_assert_int_eq(message_format_call("a.B", NULL, false, true, &text, &n_bytes), 0);
    ck_assert_str_eq(text, "{\"method\":\"a.B\",\"more\":true}");
    free(text);
}
END_TEST

START_TEST(test_format_reply)
{
    json_t *parameters = json_pack("{s:s}", "x", "y");
    char *text;
    size_t n_bytes;

    ck_assert_int_eq(message_format_reply(NULL, parameters, true, &text, &n_bytes), 0);
    ck_assert_str_eq(text, "{\"parameters\":{\"x\":\"y\"},\"continues\":true}");
    ck_assert_uint_eq(n_bytes, strlen(text));
    free(text);
    ck_assert_int_eq(message_format_reply("a.E", parameters, false, &text, &n_bytes), 0);
    ck_assert_str_eq(text, "{\"error\":\"a.E\",\"parameters\":{\"x\":\"y\"}}");
    free(text);
    json_decref(parameters);
    ck_assert_int_eq(message_format_reply(NULL, NULL, false, &text, &n_bytes), 0);
    ck_assert_str_eq(text, "{\"parameters\":{}}");
    free(text);
}
END_TEST

static size_t allocations_left;

static void *failing_malloc(size_t n_bytes)
{
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    return malloc(n_bytes);
}

START_TEST(test_out_of_memory)
{
    static const char text[] = "{\"method\":\"a.B\",\"more\":true}";
    json_malloc_t old_malloc;
    json_free_t old_free;
    bool parsed = false, formatted = false;

    json_get_alloc_funcs(&old_malloc, &old_free);
    json_set_alloc_funcs(failing_malloc, free);
    for (size_t n = 0; !parsed || !formatted; n++) {
        struct message_call call;
        char *formatted_text;
        size_t n_bytes;

        allocations_left = n;
        int r = parse_call(text, &call);
        if (r == 0)
            message_call_done(&call);
        parsed = r == 0;
        /* jansson reports some failed allocations as a malformed text. */
        ck_assert_msg(r == 0 || r == -ENOMEM || r == -EBADMSG, "%zu: %d", n, r);

        allocations_left = n;
        r = message_format_reply("a.E", NULL, true, &formatted_text, &n_bytes);
        if (r == 0)
            free(formatted_text);
        formatted = r == 0;
        ck_assert_msg(r == 0 || r == -ENOMEM, "%zu: %d", n, r);
        ck_assert_uint_lt(n, 100);
    }
    json_set_alloc_funcs(old_malloc, old_free);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("message");
    TCase *tcase = tcase_create("message");
    tcase_add_test(tcase, test_call);
    tcase_add_test(tcase, test_call_without_parameters);
    tcase_add_test(tcase, test_call_flags);
    tcase_add_test(tcase, test_bad_calls);
    tcase_add_test(tcase, test_call_depth);
    tcase_add_test(tcase, test_call_length);
    tcase_add_test(tcase, test_full_call);
    tcase_add_test(tcase, test_reply);
    tcase_add_test(tcase, test_bad_replies);
    tcase_add_test(tcase, test_format_call);
    tcase_add_test(tcase, test_format_reply);
    tcase_add_test(tcase, test_out_of_memory);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
