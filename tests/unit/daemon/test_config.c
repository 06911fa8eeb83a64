/* Options from defaults, file and command line; bounds, refusals and their texts. */
#include "daemon/config.h"

#include "daemon/scheduler/policy.h"
#include "tests/unit/config_fixture.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(defaults)
{
    write_file("");
    GOOD(with_file(), "--capacity=50M");

    ck_assert_uint_eq(config.capacity_bytes, 50 << 20);
    ck_assert_int_eq(config.commit, COMMIT_BOOT);
    ck_assert_int_eq(config.huge_pages, HUGE_PAGES_AUTO);
    ck_assert(!config.mlock);
    ck_assert_ptr_eq(config.policy, &policy_flush_all);
    ck_assert_int_eq(config.on_full, ON_FULL_EVICT);
    ck_assert_int_eq(config.on_pressure, ON_PRESSURE_IGNORE);
    ck_assert_ptr_null(config.socket);
    ck_assert_ptr_null(config.socket_group);
    ck_assert_ptr_null(config.admin_group);
    ck_assert_ptr_null(config.model_dir);
    ck_assert_uint_eq(config.loaders, 2);
    ck_assert_uint_eq(config.monitor_interval_usec, 1000000);
    ck_assert_uint_eq(config.overhead_limit_bytes, 64 << 20);
    ck_assert_uint_eq(config.lease_grace_usec, 30 * 1000 * 1000);
    ck_assert_uint_eq(config.max_connections, 256);
    ck_assert_uint_eq(config.max_connections_per_user, 32);
    ck_assert_int_eq(config.log_level, LOG_LEVEL_INFO);
    ck_assert_str_eq(config.file, path);
    ck_assert(!config.simulate);
    config_done(&config);
    ck_assert_ptr_null(config.file);
}
END_TEST

START_TEST(every_option_in_a_file)
{
    write_file("# a comment\n"
               "capacity = 1.5G\n"
               "   ; another\n"
               "\n"
               "commit=load\n"
               "  huge-pages = never\n" /* indented: a line of its own all the same */
               "\tmlock = yes\r\n"
               "policy = lru ; why not\n"
               "on-full = ask\n"
               "on-pressure = trim\n"
               "socket = /run/x=y\n"
               "socket-group = users\n"
               "admin-group = wheel\n"
               "model-dir = /srv/models with space\n"
               "metrics-listen = 127.0.0.1:9464\n"
               "loaders = 64\n"
               "monitor-interval = 10ms\n"
               "overhead-limit = 1M\n"
               "lease-grace = 1min 30s\n"
               "max-connections = 10000\n"
               "max-connections-per-user = 1\n"
               "log-level = debug"); /* no newline at the end */
    GOOD(with_file());

    ck_assert_uint_eq(config.capacity_bytes, UINT64_C(3) << 29);
    ck_assert_int_eq(config.commit, COMMIT_LOAD);
    ck_assert_int_eq(config.huge_pages, HUGE_PAGES_NEVER);
    ck_assert(config.mlock);
    ck_assert_ptr_eq(config.policy, &policy_lru);
    ck_assert_int_eq(config.on_full, ON_FULL_ASK);
    ck_assert_int_eq(config.on_pressure, ON_PRESSURE_TRIM);
    ck_assert_str_eq(config.socket, "/run/x=y");
    ck_assert_str_eq(config.socket_group, "users");
    ck_assert_str_eq(config.admin_group, "wheel");
    ck_assert_str_eq(config.model_dir, "/srv/models with space");
    ck_assert_str_eq(config.metrics_listen, "127.0.0.1:9464");
    ck_assert_uint_eq(config.loaders, 64);
    ck_assert_uint_eq(config.monitor_interval_usec, 10000);
    ck_assert_uint_eq(config.overhead_limit_bytes, 1 << 20);
    ck_assert_uint_eq(config.lease_grace_usec, 90 * 1000 * 1000);
    ck_assert_uint_eq(config.max_connections, 10000);
    ck_assert_uint_eq(config.max_connections_per_user, 1);
    ck_assert_int_eq(config.log_level, LOG_LEVEL_DEBUG);
}
END_TEST

START_TEST(command_line_beats_file)
{
    write_file("capacity = 10M\nadmin-group = wheel\nloaders = 3\n");
    GOOD("--capacity", "20M", with_file(), "--admin-group=", "--policy=lru", "--policy",
         "flush-all");

    ck_assert_uint_eq(config.capacity_bytes, 20 << 20);
    ck_assert_ptr_null(config.admin_group);
    ck_assert_uint_eq(config.loaders, 3);
    ck_assert_ptr_eq(config.policy, &policy_flush_all); /* the last one holds */
}
END_TEST

static const struct {
    const char *line;
    bool good;
} bounds[] = {
    {"capacity = 1", true},
    {"capacity = 9223372036854775807", true},
    {"capacity = 100%", true},
    {"capacity = 0", false},
    {"capacity = 0M", false},
    {"capacity = -1", false},
    {"capacity = 9223372036854775808", false},
    {"capacity = 16E", false},
    {"capacity = 0%", false},
    {"capacity = 101%", false},
    {"capacity = -5%", false},
    {"capacity = 1000%", false},
    {"capacity = 18446744073709551621%", false},
    {"capacity = %", false},
    {"capacity = 50%%", false},
    {"capacity =", false},
    {"capacity = 50 M # half", false},
    {"capacity = lots", false},
    {"commit = boo", false},
    {"commit = boot|load", false},
    {"commit =", false},
    {"commit = Boot", false},
    {"huge-pages = reserved", true},
    {"mlock = true", false},
    {"policy = belady", false},
    {"on-full = flush", false},
    {"loaders = 1", true},
    {"loaders = 0", false},
    {"loaders = 65", false},
    {"loaders = 2.0", false},
    {"loaders = +2", false},
    {"loaders = 0x2", false},
    {"loaders = 18446744073709551618", false},
    {"loaders =", false},
    {"monitor-interval = 1h", true},
    {"monitor-interval = 9999us", false},
    {"monitor-interval = 3601", false},
    {"monitor-interval = 0", false},
    {"overhead-limit = 1048575", false},
    {"lease-grace = 0s", true},
    {"lease-grace = 1h", true},
    {"lease-grace = 3601s", false},
    {"lease-grace = -1s", false},
    {"lease-grace =", false},
    {"max-connections = 0", false},
    {"max-connections = 10001", false},
    {"max-connections-per-user = 0", false},
    {"max-connections-per-user = 10000", true},
    {"max-connections-per-user = 10001", false},
    {"log-level = loud", false},
    {"log-level = 3", false},
};

START_TEST(bounds_in_a_file)
{
    bool is_capacity = strncmp(bounds[_i].line, "capacity", 8) == 0;
    char text[256], part[256];

    snprintf(text, sizeof text, "%s\n%s\n", is_capacity ? "" : "capacity = 1M", bounds[_i].line);
    write_file(text);
    if (bounds[_i].good) {
        GOOD(with_file());
    } else {
        snprintf(part, sizeof part, "%s:2: ", path);
        BAD(-EINVAL, part, with_file());
    }
}
END_TEST

START_TEST(bounds_on_the_command_line)
{
    char argument[256] = "--", name[256] = "";
    char *equals;

    strcat(argument, bounds[_i].line);
    equals = strstr(argument, " =");
    memmove(equals, equals + 1, strlen(equals));
    if (equals[1] == ' ')
        memmove(equals + 1, equals + 2, strlen(equals + 1));
    strncat(name, argument, (size_t)(equals - argument));
    strcat(name, ": ");
    write_file("");
    if (bounds[_i].good) {
        GOOD(with_file(), "--capacity=1M", argument);
    } else {
        BAD(-EINVAL, name, with_file(), argument);
    }
}
END_TEST

START_TEST(errors_tell_what_is_allowed)
{
    write_file("capacity = lots\n");
    BAD(-EINVAL, "'lots' is not valid for capacity, which takes a size such as 50M", with_file());
    write_file("capacity = 1M\n");
    BAD(-EINVAL, "--commit: 'never' is not valid for commit, which takes one of boot|load",
        with_file(), "--commit=never");
    BAD(-EINVAL, "a number from 1 to 64", with_file(), "--loaders=99");
    BAD(-EINVAL, "a time from 10ms to 1h", with_file(), "--monitor-interval", "2h");
}
END_TEST

START_TEST(percentage_is_of_the_machine)
{
    unsigned long long total_kib = 0;
    FILE *meminfo = fopen("/proc/meminfo", "r");

    ck_assert_ptr_nonnull(meminfo);
    ck_assert_int_eq(fscanf(meminfo, "MemTotal: %llu kB", &total_kib), 1);
    fclose(meminfo);
    write_file("capacity = 25%\n");
    GOOD(with_file());
    ck_assert_uint_eq(config.capacity_bytes, total_kib * 1024 / 100 * 25);
}
END_TEST

START_TEST(bad_command_line)
{
    char longest[108 + 16] = "--socket=";

    write_file("capacity = 1M\n");
    BAD(-EINVAL, "no option '--loader'; did you mean '--loaders'?", with_file(), "--loader=1");
    BAD(-EINVAL, "no option '--simulat'; did you mean '--simulate'?", with_file(), "--simulat");
    BAD(-EINVAL, "no option '--'", with_file(), "--=1");
    BAD(-EINVAL, "unexpected argument 'start'", with_file(), "start");
    BAD(-EINVAL, "unexpected argument '-x'", with_file(), "-x");
    BAD(-EINVAL, "unexpected argument '--'", with_file(), "--");
    BAD(-EINVAL, "unexpected argument ''", with_file(), "");
    BAD(-EINVAL, "--loaders needs a value", with_file(), "--loaders");
    BAD(-EINVAL, "--config needs a value", "--config");
    BAD(-EINVAL, "--simulate takes no value", with_file(), "--simulate=yes");

    memset(longest + strlen(longest), 's', 107);
    GOOD(with_file(), longest);
    ck_assert_uint_eq(strlen(config.socket), 107);
    strcat(longest, "s");
    BAD(-EINVAL, "a path of at most 107 bytes", with_file(), longest);
}
END_TEST

START_TEST(long_texts_are_cut)
{
    char argument[4096] = "--log-level=";
    memset(argument + strlen(argument), 'x', 4000);
    BAD(-EINVAL, "which takes one of error|", argument, "--simulate", "--capacity=1M");
    memset(argument + 2, 'x', 4000);
    BAD(-EINVAL, "did you mean", argument);
    memset(argument, 'x', 4000);
    BAD(-EINVAL, "see --help", argument);
}
END_TEST

START_TEST(actions)
{
    write_file("capacity = 1M\n");
    expect_action(LIST(with_file(), "--check-config"), CONFIG_CHECKED);
    ck_assert(config.check_only);
    BAD(-EINVAL, "--loaders", with_file(), "--check-config", "--loaders=0");
    expect_action(LIST(with_file(), "--print-dropin"), CONFIG_DROPIN);
    ck_assert_uint_eq(config.capacity_bytes, 1 << 20);
    BAD(-EINVAL, "--loaders", with_file(), "--print-dropin", "--loaders=0");
    BAD(-EINVAL, "--print-dropin takes no value", with_file(), "--print-dropin=yes");

    /* Neither needs a usable configuration. */
    expect_action(LIST("--help", "--loaders=0"), CONFIG_HELP);
    expect_action(LIST("--config=/nonexistent", "--version"), CONFIG_VERSION);
}
END_TEST

START_TEST(simulation_reads_no_default_file)
{
    GOOD("--simulate", "--capacity=8G");
    ck_assert(config.simulate);
    ck_assert_ptr_null(config.file);
    BAD(-EINVAL, "capacity is not set: give --capacity=SIZE", "--simulate");

    write_file("capacity = 1M\nloaders = 5\n");
    GOOD("--simulate", with_file());
    ck_assert_uint_eq(config.loaders, 5);
}
END_TEST

START_TEST(differences)
{
    unsigned cursor = 0;
    bool reloadable;

    write_file("capacity = 1M\nadmin-group = a\npolicy = lru\nmlock = yes\n");
    struct config a = LOADED(with_file()), b = LOADED(with_file());
    ck_assert_ptr_null(config_next_difference(&a, &b, &cursor, &reloadable));
    config_done(&b);

    write_file("capacity = 2M\nmodel-dir = /m\nmonitor-interval = 2s\n"
               "lease-grace = 1s\n");
    b = LOADED(with_file());
    static const struct {
        const char *name;
        bool reloadable;
    } expected[] = {
        {"capacity", false},    {"mlock", false},    {"policy", true},
        {"admin-group", true},  {"model-dir", true}, {"monitor-interval", true},
        {"lease-grace", false},
    };
    cursor = 0;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        ck_assert_pstr_eq(config_next_difference(&a, &b, &cursor, &reloadable), expected[i].name);
        ck_assert_int_eq(reloadable, expected[i].reloadable);
    }
    ck_assert_ptr_null(config_next_difference(&a, &b, &cursor, &reloadable));
    ck_assert_ptr_null(config_next_difference(&a, &b, &cursor, &reloadable));
    config_done(&a);
    config_done(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tcase = tcase_create("config");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, defaults);
    tcase_add_test(tcase, every_option_in_a_file);
    tcase_add_test(tcase, command_line_beats_file);
    tcase_add_loop_test(tcase, bounds_in_a_file, 0, sizeof bounds / sizeof bounds[0]);
    tcase_add_loop_test(tcase, bounds_on_the_command_line, 0, sizeof bounds / sizeof bounds[0]);
    tcase_add_test(tcase, errors_tell_what_is_allowed);
    tcase_add_test(tcase, percentage_is_of_the_machine);
    tcase_add_test(tcase, bad_command_line);
    tcase_add_test(tcase, long_texts_are_cut);
    tcase_add_test(tcase, actions);
    tcase_add_test(tcase, simulation_reads_no_default_file);
    tcase_add_test(tcase, differences);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
