/* The client's connection with servers that answer, are slow, send wrong replies or garbage, and
 * die. test_varlink_transport has long messages, descriptors and connecting. */
#include "tests/unit/run_suite.h"
#include "tests/unit/varlink_fixture.h"

#include <stdio.h>
#include <sys/eventfd.h>

START_TEST(call_and_reply)
{
    struct varlink_reply reply;
    json_t *parameters = json_pack("{s:i}", "x", 3);

    say("{\"parameters\":{\"n\":7}}"); /* the answer may be there before the question */
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", parameters, NULL, 0, &reply), 0);
    json_decref(parameters);
    ck_assert_int_eq(json_integer_value(json_object_get(reply.parameters, "n")), 7);
    varlink_reply_done(&reply);

    json_t *call = json_loads(hear(), 0, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(call, "method")), "a.b.C");
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(call, "parameters"), "x")),
                     3);
    ck_assert(!json_is_true(json_object_get(call, "more")));
    json_decref(call);
}
END_TEST

START_TEST(error_is_a_reply)
{
    struct varlink_reply reply;

    say("{\"error\":\"a.b.Bad\",\"parameters\":{\"why\":\"so\"},\"continues\":true}");
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", NULL, NULL, 0, &reply), 0);
    ck_assert_str_eq(reply.error, "a.b.Bad");
    ck_assert_str_eq(json_string_value(json_object_get(reply.parameters, "why")), "so");
    ck_assert(!reply.continues); /* an error ends its call */
    varlink_reply_done(&reply);
    say("{\"parameters\":{\"n\":1}}"); /* and leaves the connection usable */
    ask(0);
    expect_number(1, false);
}
END_TEST

START_TEST(more_replies)
{
    ask(VARLINK_MORE);
    ck_assert_ptr_nonnull(strstr(hear(), "\"more\":true"));
    ck_assert_int_eq(varlink_send(varlink, "a.b.C", NULL, 0, NULL, 0), -EBUSY);
    say("{\"parameters\":{\"n\":1},\"continues\":true}");
    say("{\"parameters\":{\"n\":2},\"continues\":true}");
    say("{\"parameters\":{\"n\":3}}");
    expect_number(1, true);
    ck_assert_int_eq(varlink_send(varlink, "a.b.C", NULL, 0, NULL, 0), -EBUSY);
    expect_number(2, true);
    expect_number(3, false);
    ask(0);
    say("{\"parameters\":{\"n\":4}}");
    expect_number(4, false);
}
END_TEST

START_TEST(pipelined)
{
    struct varlink_reply reply;

    for (int i = 0; i < 3; i++)
        ask(0);
    ask(VARLINK_MORE);
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", NULL, NULL, 0, &reply), -EBUSY);
    for (int i = 0; i < 3; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"parameters\":{\"n\":%d}}", i);
        say(text);
    }
    say("{\"parameters\":{\"n\":3},\"continues\":true}");
    say("{\"parameters\":{\"n\":4}}");
    for (int i = 0; i < 3; i++)
        expect_number(i, false);
    expect_number(3, true);
    expect_number(4, false);
    ck_assert_int_eq(varlink_receive(varlink, &reply), -ENODATA);
}
END_TEST

/* A call before the streaming one may not have several replies. */
START_TEST(continues_out_of_turn)
{
    ask(0);
    ask(VARLINK_MORE);
    say("{\"parameters\":{},\"continues\":true}");
    expect_broken(-EBADMSG);
}
END_TEST

START_TEST(oneway)
{
    struct varlink_reply reply;

    ask(VARLINK_ONEWAY);
    ck_assert_int_eq(varlink_flush(varlink), 0);
    ck_assert_ptr_nonnull(strstr(hear(), "\"oneway\":true"));
    ck_assert_int_eq(varlink_receive(varlink, &reply), -ENODATA);
    ask(0);
    say("{\"parameters\":{\"n\":1}}");
    expect_number(1, false);
}
END_TEST

static const char *const rubbish[] = {
    "",
    "x",
    "[]",
    "{",
    "{\"error\":3}",
    "{\"continues\":1}",
    "{\"parameters\":[]}",
    "{\"parameters\":{}} trailing",
    "{\"parameters\":{\"a\":1,\"a\":2}}",
    "{\"parameters\":{\"a\":\"\xff\"}}",
    "{\"parameters\":{},\"continues\":true}", /* the call was not made with `more` */
};

START_TEST(rubbish_breaks_the_connection)
{
    ask(0);
    say(rubbish[_i]);
    expect_broken(-EBADMSG);
}
END_TEST

START_TEST(hangs_up_unasked)
{
    ask(0);
    hang_up();
    expect_broken(-ECONNRESET);
}
END_TEST

START_TEST(hangs_up_within_a_reply)
{
    ask(0);
    hear();
    say_bytes("{\"parameters\"", 13);
    hang_up();
    expect_broken(-ECONNRESET);
}
END_TEST

/* Replies from before the end are not lost, although nothing can be sent any more. */
START_TEST(answers_and_dies)
{
    struct varlink_reply reply;

    say("{\"error\":\"a.b.Closing\"}");
    hang_up();
    ck_assert_int_eq(varlink_call(varlink, "a.b.C", NULL, NULL, 0, &reply), 0);
    ck_assert_str_eq(reply.error, "a.b.Closing");
    varlink_reply_done(&reply);
    ask(0);
    expect_broken(-ECONNRESET);
}
END_TEST

START_TEST(flush_to_the_dead)
{
    hang_up();
    ask(VARLINK_ONEWAY);
    ck_assert_int_eq(varlink_flush(varlink), -EPIPE);
}
END_TEST

START_TEST(slow_server)
{
    struct varlink_reply reply;

    ask(0);
    varlink_set_timeout(varlink, SOON_USEC);
    ck_assert_int_eq(varlink_receive(varlink, &reply), -ETIMEDOUT);
    say_bytes("{\"parameters\":{", 15);
    ck_assert_int_eq(varlink_receive(varlink, &reply), -ETIMEDOUT);
    say("\"n\":5}}");
    expect_number(5, false); /* late, but still the answer */
    varlink_set_timeout(varlink, 0);
    ask(0);
    ck_assert_int_eq(varlink_receive(varlink, &reply), -ETIMEDOUT);
}
END_TEST

START_TEST(interrupted)
{
    struct varlink_reply reply;
    int event = eventfd(1, EFD_CLOEXEC);

    varlink_set_timeout(varlink, VARLINK_FOREVER);
    varlink_set_interrupt(varlink, event);
    ask(0);
    ck_assert_int_eq(varlink_receive(varlink, &reply), -EINTR);
    varlink_set_interrupt(varlink, -1);
    say("{\"parameters\":{\"n\":6}}");
    expect_number(6, false);
    close(event);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("varlink_client");
    TCase *tests = tcase_create("varlink_client");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, call_and_reply);
    tcase_add_test(tests, error_is_a_reply);
    tcase_add_test(tests, more_replies);
    tcase_add_test(tests, pipelined);
    tcase_add_test(tests, continues_out_of_turn);
    tcase_add_test(tests, oneway);
    tcase_add_loop_test(tests, rubbish_breaks_the_connection, 0,
                        (int)(sizeof rubbish / sizeof *rubbish));
    tcase_add_test(tests, hangs_up_unasked);
    tcase_add_test(tests, hangs_up_within_a_reply);
    tcase_add_test(tests, answers_and_dies);
    tcase_add_test(tests, flush_to_the_dead);
    tcase_add_test(tests, slow_server);
    tcase_add_test(tests, interrupted);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
