/* Which peers are accepted and what they may do: limits, tiers, passed sockets, no free
 * descriptors, and the end. */
#include "tests/unit/run_suite.h"
#include "tests/unit/server_fixture.h"

static const char denied[] =
    "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}";

enum { NOBODY = 65534 };

START_TEST(test_places)
{
    enum { N_PLACES = 3 };
    size_t n_places = N_PLACES + (geteuid() == 0 ? SERVER_ROOT_CONNECTIONS : 0);
    struct client *clients[N_PLACES + SERVER_ROOT_CONNECTIONS];

    server_set_limits(fixture.server, &(struct server_limits){N_PLACES, 100});
    for (size_t i = 0; i < n_places; i++) {
        clients[i] = client_new();
        expect_echo(clients[i]);
    }
    for (int i = 0; i < 3; i++) {
        struct client *refused = client_new();
        expect_end(refused);
        client_close(refused);
    }
    ck_assert_uint_eq(stats().n_refused, 3);
    ck_assert_uint_eq(stats().n_connections, n_places);

    client_close(clients[1]);
    settle();
    clients[1] = client_new();
    for (size_t i = 0; i < n_places; i++)
        expect_echo(clients[i]);

    /* A lower limit ends no connection. */
    server_set_limits(fixture.server, &(struct server_limits){0, 0});
    for (size_t i = 0; i < n_places; i++)
        expect_echo(clients[i]);
}
END_TEST

/* Connects with other credentials; needs root. */
static struct client *client_as(uid_t uid, gid_t gid, const gid_t *groups, size_t n_groups)
{
    ck_assert_int_eq(setgroups(n_groups, groups), 0);
    ck_assert_int_eq(setegid(gid), 0);
    ck_assert_int_eq(seteuid(uid), 0);
    struct client *client = client_new();
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(setegid(0), 0);
    ck_assert_int_eq(setgroups(0, NULL), 0);
    return client;
}

START_TEST(test_places_of_one_user)
{
    struct client *clients[4], *refused;

    server_set_limits(fixture.server, &(struct server_limits){10, 2});
    if (geteuid() != 0) {
        clients[0] = client_new();
        clients[1] = client_new();
        refused = client_new();
        expect_end(refused);
    } else {
        clients[0] = client_as(NOBODY, NOBODY, NULL, 0);
        clients[1] = client_as(NOBODY, NOBODY, NULL, 0);
        refused = client_as(NOBODY, 1, NULL, 0);
        expect_end(refused);
        clients[2] = client_as(NOBODY - 1, NOBODY, NULL, 0);
        clients[3] = client_new();
        expect_echo(clients[2]);
        expect_echo(clients[3]);
    }
    ck_assert_uint_eq(stats().n_refused, 1);
    expect_echo(clients[0]);
    client_close(clients[0]);
    settle();
    clients[0] = client_new();
    expect_echo(clients[0]);
}
END_TEST

/* Root is accepted when others are refused. */
START_TEST(test_places_for_root)
{
    server_set_limits(fixture.server, &(struct server_limits){1, 1});
    struct client *user = client_as(NOBODY, NOBODY, NULL, 0);
    expect_echo(user);
    struct client *refused = client_as(NOBODY - 1, NOBODY, NULL, 0);
    expect_end(refused);
    struct client *root = client_new();
    expect_echo(root);
}
END_TEST

START_TEST(test_flood_of_peers)
{
    enum { N_PEERS = 300 };
    struct client *peers[N_PEERS];

    server_set_limits(fixture.server, &(struct server_limits){SERVER_CONNECTIONS_DEFAULT, 1000});
    struct client *first = client_new();
    for (int i = 0; i < N_PEERS; i++) {
        peers[i] = client_new();
        settle();
    }
    ck_assert_uint_ge(stats().n_connections, SERVER_CONNECTIONS_DEFAULT);
    ck_assert_uint_eq(stats().n_connections + stats().n_refused, N_PEERS + 1);
    expect_echo(first);
    for (int i = 0; i < N_PEERS; i++)
        client_close(peers[i]);
    settle();
    ck_assert_uint_eq(stats().n_connections, 1);
    expect_echo(first);
}
END_TEST

static void expect_tier(const struct client *client, enum tier tier)
{
    static const char allowed[] = "{\"parameters\":{\"number\":1}}";

    expect_echo(client);
    send_call(client, "Member", "{\"number\":1}");
    expect(client, tier >= TIER_MEMBER ? allowed : denied);
    send_call(client, "Admin", "{\"number\":1}");
    expect(client, tier >= TIER_ADMIN ? allowed : denied);
}

START_TEST(test_own_user)
{
    struct client *client = client_new();
    expect_tier(client, TIER_ADMIN);
}
END_TEST

START_TEST(test_tiers)
{
    enum { MEMBERS = 4000, ADMINS = 4001 };
    static const struct {
        gid_t gid, groups[3];
        size_t n_groups;
        enum tier tier;
    } cases[] = {
        {NOBODY, {0}, 0, TIER_ANYONE},
        {MEMBERS, {0}, 0, TIER_MEMBER},
        {ADMINS, {0}, 0, TIER_ADMIN},
        {NOBODY, {1, MEMBERS}, 2, TIER_MEMBER},
        {NOBODY, {1, 2, ADMINS}, 3, TIER_ADMIN},
        {NOBODY, {MEMBERS, ADMINS}, 2, TIER_ADMIN},
        {ADMINS, {MEMBERS}, 1, TIER_ADMIN},
        {NOBODY, {MEMBERS - 1, ADMINS + 1}, 2, TIER_ANYONE},
    };

    server_set_rules(fixture.server, &(struct peer_rules){MEMBERS, ADMINS});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct client *client = client_as(NOBODY, cases[i].gid, cases[i].groups, cases[i].n_groups);
        expect_tier(client, cases[i].tier);
        client_close(client);
    }

    /* No user is in a group that is not set. */
    server_set_rules(fixture.server, &(struct peer_rules){(gid_t)-1, (gid_t)-1});
    struct client *client = client_as(NOBODY, MEMBERS, NULL, 0);
    expect_tier(client, TIER_ANYONE);
    client_close(client);
    client = client_new();
    expect_tier(client, TIER_ADMIN);
}
END_TEST

START_TEST(test_many_groups)
{
    enum { N_GROUPS = 1000, MEMBERS = 5000 };
    gid_t groups[N_GROUPS];

    for (gid_t i = 0; i < N_GROUPS; i++)
        groups[i] = MEMBERS - N_GROUPS + 1 + i;
    server_set_rules(fixture.server, &(struct peer_rules){MEMBERS, (gid_t)-1});
    struct client *client = client_as(NOBODY, NOBODY, groups, N_GROUPS);
    expect_tier(client, TIER_MEMBER);
}
END_TEST

START_TEST(test_denied_before_decoding)
{
    struct client *client = client_as(NOBODY, NOBODY, NULL, 0);
    send_call(client, "Admin", "{\"nonsense\":true}");
    expect(client, denied);
    send_call(client, "Admin", "{},\"upgrade\":true");
    expect(client, denied);
    send_text(client, "{\"method\":\"org.varlink.service.GetInfo\"}");
    json_t *reply = receive(client);
    ck_assert_ptr_null(json_object_get(reply, "error"));
    json_decref(reply);
}
END_TEST

static void count_end(void *context)
{
    (*(unsigned *)context)++;
}

START_TEST(test_adopted)
{
    unsigned n_ends = 0;
    int fds[2];

    server_set_limits(fixture.server, &(struct server_limits){0, 0}); /* not for adopted ones */
    server_on_adopted_end(fixture.server, count_end, &n_ends);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    ck_assert_int_eq(server_adopt(fixture.server, fds[0]), 0);
    ck_assert_int_eq(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    struct client *client = client_of(fds[1]);
    expect_tier(client, TIER_ADMIN);

    server_set_limits(fixture.server, &(struct server_limits){10, 10});
    struct client *other = client_new();
    expect_echo(other);
    client_close(other);
    settle();
    ck_assert_uint_eq(n_ends, 0);
    send_call(client, "Keep", "{}");
    settle();
    client_close(client);
    settle();
    ck_assert_uint_eq(n_ends, 1);
    ck_assert_uint_eq(fixture.record.n_cancelled, 1);
    fixture.server = server_free(fixture.server);
    ck_assert_uint_eq(n_ends, 1);
}
END_TEST

START_TEST(test_given_nonsense)
{
    int fds[2];

    ck_assert_int_eq(server_adopt(fixture.server, -1), -EBADF);
    ck_assert_int_eq(server_listen(fixture.server, -1), -EBADF);
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    ck_assert_int_eq(server_adopt(fixture.server, fds[0]), -ENOTSOCK);
    ck_assert_int_eq(server_listen(fixture.server, fds[1]), -ENOTSOCK);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    ck_assert_int_eq(server_listen(fixture.server, fds[0]), -EINVAL);
    close(fds[1]);
    ck_assert_uint_eq(stats().n_connections, 0);
}
END_TEST

START_TEST(test_two_sockets)
{
    char path[80];

    snprintf(path, sizeof path, "%s/second", fixture.directory);
    ck_assert_int_eq(server_listen(fixture.server, listen_at(path)), 0);
    struct client *first = client_new();
    struct client *second = client_of(connect_to(path));
    expect_echo(first);
    expect_echo(second);
    ck_assert_uint_eq(stats().n_connections, 2);
    unlink(path);
}
END_TEST

/* The daemon has no descriptor left: the server closes the new connection instead of letting it
 * wait, the loop does not spin, and other connections are served. */
static void run_out_of_descriptors(const struct limiter *limiter)
{
    struct client *refused[3];

    setup();
    struct client *in = client_new();
    expect_echo(in);
    for (int i = 0; i < 3; i++)
        refused[i] = client_new();
    limit_fds(limiter, 0);
    for (int i = 0; i < 3; i++)
        expect_end(refused[i]);
    ck_assert_uint_eq(stats().n_refused, 3);
    expect_echo(in);

    client_close(refused[0]);
    refused[0] = client_new(); /* uses the descriptor that became free */
    client_close(refused[1]);
    expect_echo(refused[0]);
    teardown();
}

START_TEST(test_no_descriptors)
{
    run_limited(run_out_of_descriptors);
}
END_TEST

START_TEST(test_free_with_everything_open)
{
    struct client *clients[4];

    for (int i = 0; i < 4; i++)
        clients[i] = client_new();
    send_call(clients[0], "Keep", "{}");
    send_call(clients[1], "Keep", "{},\"more\":true");
    send_call(clients[2], "Stream", "{\"count\":50,\"bytes\":100000},\"more\":true");
    send_bytes(clients[3], "{\"method\"", 9);
    settle();
    ck_assert_uint_eq(fixture.record.n_kept, 2);
    fixture.record.answer_when_cancelled = kept(1);
    fixture.server = server_free(fixture.server);
    ck_assert_uint_eq(fixture.record.n_cancelled, 2); /* one kept, one stream; one was answered */
    expect_end(clients[0]);
}
END_TEST

START_TEST(test_free_unused)
{
    ck_assert_ptr_null(server_free(NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server");
    TCase *tcase = tcase_create("server");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_places);
    tcase_add_test(tcase, test_places_of_one_user);
    tcase_add_test(tcase, test_flood_of_peers);
    tcase_add_test(tcase, test_own_user);
    tcase_add_test(tcase, test_adopted);
    tcase_add_test(tcase, test_given_nonsense);
    tcase_add_test(tcase, test_two_sockets);
    tcase_add_test(tcase, test_free_with_everything_open);
    tcase_add_test(tcase, test_free_unused);
    if (geteuid() == 0) {
        tcase_add_test(tcase, test_places_for_root);
        tcase_add_test(tcase, test_tiers);
        tcase_add_test(tcase, test_many_groups);
        tcase_add_test(tcase, test_denied_before_decoding);
    } else {
        printf("skipped: tiers and root's places, which need root\n");
    }
    suite_add_tcase(suite, tcase);
    TCase *limited = tcase_create("limited"); /* its fixture runs in a child */
    tcase_set_timeout(limited, 120);
    tcase_add_test(limited, test_no_descriptors);
    suite_add_tcase(suite, limited);
    return run_suite(suite);
}
