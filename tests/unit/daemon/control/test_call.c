/* All outcomes of a call: found or not, allowed or not, decoded or not, answered once, twice or not
 * at all, with descriptors or without. */
#include "tests/unit/run_suite.h"
#include "tests/unit/server_fixture.h"

#define SERVICE_ERROR(name, parameters) \
    "{\"error\":\"org.varlink.service." name "\",\"parameters\":" parameters "}"

START_TEST(test_service_info)
{
    struct client *client = client_new();
    send_text(client, "{\"method\":\"org.varlink.service.GetInfo\"}");
    expect(client, "{\"parameters\":{\"vendor\":\"Vendor\",\"product\":\"Product\","
                   "\"version\":\"1\",\"url\":\"https://example.org\","
                   "\"interfaces\":[\"org.varlink.service\",\"test.peer\"]}}");
    send_text(client, "{\"method\":\"org.varlink.service.GetInfo\",\"parameters\":{\"x\":1}}");
    expect(client, SERVICE_ERROR("InvalidParameter", "{\"parameter\":\"x\"}"));
}
END_TEST

static void send_description_call(const struct client *client, const char *parameters)
{
    char text[256];

    snprintf(text, sizeof text,
             "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":%s}",
             parameters);
    send_text(client, text);
}

START_TEST(test_service_descriptions)
{
    struct client *client = client_new();
    send_description_call(client, "{\"interface\":\"test.peer\"}");
    expect(client, "{\"parameters\":{\"description\":"
                   "\"interface test.peer\\nmethod Echo() -> ()\\n\"}}");

    send_description_call(client, "{\"interface\":\"org.varlink.service\"}");
    json_t *reply = receive(client);
    const char *description =
        json_string_value(json_object_get(json_object_get(reply, "parameters"), "description"));
    static const char *const parts[] = {"\ninterface org.varlink.service\n",
                                        "\nmethod GetInfo() ",
                                        "\nmethod GetInterfaceDescription(interface: string) ",
                                        "\nerror InterfaceNotFound(interface: string)\n",
                                        "\nerror MethodNotFound(method: string)\n",
                                        "\nerror MethodNotImplemented(method: string)\n",
                                        "\nerror InvalidParameter(parameter: string)\n",
                                        "\nerror PermissionDenied()\n",
                                        "\nerror ExpectedMore()\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        ck_assert_msg(strstr(description, parts[i]) != NULL, "%s", parts[i]);
    json_decref(reply);

    send_description_call(client, "{\"interface\":\"test\"}");
    expect(client, SERVICE_ERROR("InterfaceNotFound", "{\"interface\":\"test\"}"));
    send_description_call(client, "{}");
    expect(client, SERVICE_ERROR("InvalidParameter", "{\"parameter\":\"interface\"}"));
}
END_TEST

START_TEST(test_unknown)
{
    static const struct {
        const char *method, *error;
    } cases[] = {
        {"Echo", SERVICE_ERROR("InterfaceNotFound", "{\"interface\":\"Echo\"}")},
        {"", SERVICE_ERROR("InterfaceNotFound", "{\"interface\":\"\"}")},
        {".Echo", SERVICE_ERROR("InterfaceNotFound", "{\"interface\":\"\"}")},
        {"test.Echo", SERVICE_ERROR("InterfaceNotFound", "{\"interface\":\"test\"}")},
        {"test.peerr.Echo", SERVICE_ERROR("InterfaceNotFound", "{\"interface\":\"test.peerr\"}")},
        {"Test.peer.Echo", SERVICE_ERROR("InterfaceNotFound", "{\"interface\":\"Test.peer\"}")},
        {"\xc3\xa9.Echo", SERVICE_ERROR("InterfaceNotFound", "{\"interface\":\"\xc3\xa9\"}")},
        {"test.peer.", SERVICE_ERROR("MethodNotFound", "{\"method\":\"test.peer.\"}")},
        {"test.peer.echo", SERVICE_ERROR("MethodNotFound", "{\"method\":\"test.peer.echo\"}")},
        {"test.peer.Echo2", SERVICE_ERROR("MethodNotFound", "{\"method\":\"test.peer.Echo2\"}")},
        {"org.varlink.service.Echo",
         SERVICE_ERROR("MethodNotFound", "{\"method\":\"org.varlink.service.Echo\"}")},
    };
    char text[256];

    struct client *client = client_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(text, sizeof text, "{\"method\":\"%s\"}", cases[i].method);
        send_text(client, text);
        expect(client, cases[i].error);
    }
    expect_echo(client);
    ck_assert_uint_eq(stats().n_errors, sizeof cases / sizeof cases[0]);
}
END_TEST

START_TEST(test_upgrade)
{
    struct client *client = client_new();
    send_call(client, "Echo", "{},\"upgrade\":true");
    expect(client, SERVICE_ERROR("MethodNotImplemented", "{\"method\":\"test.peer.Echo\"}"));
    ck_assert_uint_eq(fixture.record.n_handled, 0);
    expect_echo(client);
}
END_TEST

START_TEST(test_parameters)
{
    static const struct {
        const char *parameters, *reply;
    } cases[] = {
        {"{\"number\":3}", "{\"parameters\":{\"number\":3}}"},
        {"{}", SERVICE_ERROR("InvalidParameter", "{\"parameter\":\"number\"}")},
        {"null", SERVICE_ERROR("InvalidParameter", "{\"parameter\":\"number\"}")},
        {"{\"number\":-1}", SERVICE_ERROR("InvalidParameter", "{\"parameter\":\"number\"}")},
        {"{\"number\":1.5}", SERVICE_ERROR("InvalidParameter", "{\"parameter\":\"number\"}")},
        {"{\"number\":1,\"more\":1}",
         SERVICE_ERROR("InvalidParameter", "{\"parameter\":\"more\"}")},
    };

    struct client *client = client_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        send_call(client, "Decode", cases[i].parameters);
        expect(client, cases[i].reply);
    }
}
END_TEST

START_TEST(test_errors)
{
    struct client *client = client_new();
    send_call(client, "Busy", "{}");
    expect(client, "{\"error\":\"io.edgemind.manager.Busy\",\"parameters\":{\"leasesTotal\":0}}");
    send_call(client, "Take", "{\"index\":0}");
    expect(client, "{\"error\":\"io.edgemind.manager.IOFailed\","
                   "\"parameters\":{\"operation\":\"take\",\"errnoName\":\"EBADF\"}}");
    ck_assert_uint_eq(stats().n_errors, 2);
    ck_assert_uint_eq(stats().n_requests, 2);
}
END_TEST

START_TEST(test_more)
{
    struct client *client = client_new();
    send_call(client, "Twice", "{},\"more\":true");
    expect(client, "{\"parameters\":{\"i\":1},\"continues\":true}");
    expect(client, "{\"parameters\":{\"i\":2}}");
    send_call(client, "Twice", "{}");
    expect(client, "{\"parameters\":{\"i\":2}}");
    send_call(client, "Twice", "{},\"more\":false");
    expect(client, "{\"parameters\":{\"i\":2}}");
}
END_TEST

START_TEST(test_oneway)
{
    struct client *client = client_new();
    send_call(client, "Echo", "{},\"oneway\":true");
    send_call(client, "Busy", "{},\"oneway\":true");
    send_call(client, "Twice", "{},\"oneway\":true");
    send_call(client, "Nope", "{},\"oneway\":true");
    send_call(client, "Decode", "{\"x\":1},\"oneway\":true");
    expect_nothing(client);
    ck_assert_uint_eq(fixture.record.n_handled, 2);
    ck_assert_uint_eq(stats().n_requests, 5);
    ck_assert_uint_eq(stats().n_errors, 3);
    expect_echo(client);

    /* A call that is not answered delays the next. */
    send_call(client, "Keep", "{},\"oneway\":true");
    send_call(client, "Echo", "{\"x\":2}");
    expect_nothing(client);
    call_reply(kept(0), NULL);
    expect(client, "{\"parameters\":{\"x\":2}}");
}
END_TEST

static int file_of_size(off_t size)
{
    char path[] = "/tmp/test_call.XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_eq(ftruncate(fd, size), 0);
    return fd;
}

START_TEST(test_descriptors)
{
    static const char take[] = "{\"method\":\"test.peer.Take\",\"parameters\":{\"index\":1}}";
    int fds[3];
    struct client *client = client_new();
    for (int i = 0; i < 3; i++)
        fds[i] = file_of_size(i + 1);
    expect_echo(client);
    size_t n_open = count_open();

    /* Calls without a pause each get their own descriptors; those that are not taken are closed. */
    send_call(client, "Echo", "{\"x\":1}");
    send_fds(client, take, fds, 2);
    send_call(client, "Echo", "{\"x\":2}");
    send_fds(client, take, fds + 1, 2);
    send_fds(client, take, fds, 1);
    send_call(client, "Echo", "{\"x\":3}");
    expect(client, "{\"parameters\":{\"x\":1}}");
    expect(client, "{\"parameters\":{\"size\":2,\"fds\":2}}");
    expect(client, "{\"parameters\":{\"x\":2}}");
    expect(client, "{\"parameters\":{\"size\":3,\"fds\":2}}");
    expect(client, "{\"error\":\"io.edgemind.manager.IOFailed\","
                   "\"parameters\":{\"operation\":\"take\",\"errnoName\":\"EBADF\"}}");
    expect(client, "{\"parameters\":{\"x\":3}}");
    ck_assert_uint_eq(count_open(), n_open);

    for (int i = 0; i < 3; i++)
        close(fds[i]);
}
END_TEST

START_TEST(test_unexpected_descriptors)
{
    static const char refused[] =
        SERVICE_ERROR("InvalidParameter", "{\"parameter\":\"fileDescriptors\"}");
    int fd;

    struct client *client = client_new();
    fd = file_of_size(1);
    expect_echo(client);
    size_t n_open = count_open();

    send_fds(client, "{\"method\":\"test.peer.Echo\"}", &fd, 1);
    send_fds(client, "{\"method\":\"test.peer.Echo\",\"oneway\":true}", &fd, 1);
    send_fds(client, "{\"method\":\"org.varlink.service.GetInfo\"}", &fd, 1);
    send_fds(client, "{\"method\":\"test.peer.Nope\"}", &fd, 1);
    expect(client, refused);
    expect(client, refused);
    expect(client, SERVICE_ERROR("MethodNotFound", "{\"method\":\"test.peer.Nope\"}"));
    ck_assert_uint_eq(count_open(), n_open);
    ck_assert_uint_eq(fixture.record.n_handled, 1);
    expect_echo(client);

    /* With a message that is not a call. */
    send_fds(client, "nonsense", &fd, 1);
    expect_end(client);
    close(fd);
}
END_TEST

static void lose_descriptors(const struct limiter *limiter)
{
    static const char take[] = "{\"method\":\"test.peer.Take\",\"parameters\":{\"index\":0}}";
    int fds[4];

    setup();
    struct client *client = client_new();
    expect_echo(client);
    for (int i = 0; i < 4; i++)
        fds[i] = file_of_size(i + 1);
    send_fds(client, take, fds, 4);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    limit_fds(limiter, 2);
    expect(client, "{\"error\":\"io.edgemind.manager.IOFailed\",\"parameters\":"
                   "{\"operation\":\"receive descriptors\",\"errnoName\":\"EMFILE\"}}");
    expect_echo(client);
    teardown();
}

START_TEST(test_lost_descriptors)
{
    run_limited(lose_descriptors);
}
END_TEST

START_TEST(test_answered_later)
{
    struct client *client = client_new();
    send_call(client, "Keep", "{},\"more\":true");
    expect_nothing(client);
    call_continue(kept(0), json_pack("{s:i}", "i", 1));
    expect(client, "{\"parameters\":{\"i\":1},\"continues\":true}");
    call_continue(kept(0), NULL);
    expect(client, "{\"parameters\":{},\"continues\":true}");
    call_error(kept(0), ERROR_NOT_FOUND, NULL);
    expect(client, "{\"error\":\"io.edgemind.manager.NotFound\",\"parameters\":{}}");
    expect_echo(client);
    client_close(client);
    settle();
    ck_assert_uint_eq(fixture.record.n_cancelled, 0);
}
END_TEST

START_TEST(test_unencodable_reply)
{
    static const struct field fields[] = {{"text", FIELD_STRING, 0}, {0}};
    const char *missing = NULL;
    struct client *client = client_new(), *other = client_new();
    send_call(client, "Keep", "{},\"more\":true");
    settle();
    call_reply_fields(kept(0), fields, &missing);
    expect_end(client);
    send_call(other, "Keep", "{},\"more\":true");
    settle();
    call_continue_fields(kept(1), fields, &missing);
    ck_assert_uint_eq(fixture.record.n_cancelled, 0); /* not from within */
    expect_end(other);
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("call");
    TCase *tcase = tcase_create("call");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_service_info);
    tcase_add_test(tcase, test_service_descriptions);
    tcase_add_test(tcase, test_unknown);
    tcase_add_test(tcase, test_upgrade);
    tcase_add_test(tcase, test_parameters);
    tcase_add_test(tcase, test_errors);
    tcase_add_test(tcase, test_more);
    tcase_add_test(tcase, test_oneway);
    tcase_add_test(tcase, test_descriptors);
    tcase_add_test(tcase, test_unexpected_descriptors);
    tcase_add_test(tcase, test_answered_later);
    tcase_add_test(tcase, test_unencodable_reply);
    suite_add_tcase(suite, tcase);
    TCase *limited = tcase_create("limited"); /* its fixture runs in a child */
    tcase_set_timeout(limited, 120);
    tcase_add_test(limited, test_lost_descriptors);
    suite_add_tcase(suite, limited);
    return run_suite(suite);
}
