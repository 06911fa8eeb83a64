/* The limits in a drop-in, and the sums that explain them. */
#include "daemon/dropin.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The drop-in for a configuration; freed by the caller. */
static char *print(const struct config *config, uint64_t page_bytes, int expected)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);

    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(dropin_print(config, page_bytes, out), expected);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

/* The lines that systemd reads, without the comments. */
static void expect(const struct config *config, uint64_t page_bytes, const char *expected)
{
    char *text = print(config, page_bytes, 0), settings[256] = "", *rest = text;

    for (char *line; (line = strsep(&rest, "\n"));)
        if (*line && *line != '#') {
            ck_assert_uint_lt(strlen(settings) + strlen(line) + 1, sizeof settings);
            strcat(strcat(settings, line), "\n");
        }
    ck_assert_str_eq(settings, expected);
    free(text);
}

#define CONFIG(...) (&(struct config){__VA_ARGS__})

START_TEST(sums)
{
    /* Arena, overhead, 10 MiB of replies, 4 connections of 340 KiB, which are
     * 1.3 MiB; 12800 pages of 17 bytes are less than the last MiB. */
    expect(CONFIG(.capacity_bytes = 50 << 20, .overhead_limit_bytes = 64 << 20), 4096,
           "[Service]\nMemoryMax=126M\nLimitMEMLOCK=50M\n");
    /* 260 connections: 86.3 MiB. */
    expect(CONFIG(.capacity_bytes = 50 << 20, .overhead_limit_bytes = 64 << 20,
                  .max_connections = 256),
           4096, "[Service]\nMemoryMax=211M\nLimitMEMLOCK=50M\n");
    /* 2^18 pages a GiB: 4.25 MiB. */
    expect(CONFIG(.capacity_bytes = UINT64_C(8) << 30, .overhead_limit_bytes = 64 << 20), 4096,
           "[Service]\nMemoryMax=8302M\nLimitMEMLOCK=8192M\n");
    expect(CONFIG(.capacity_bytes = UINT64_C(8) << 30, .overhead_limit_bytes = 64 << 20), 65536,
           "[Service]\nMemoryMax=8270M\nLimitMEMLOCK=8192M\n");
    /* Everything is rounded up. */
    expect(CONFIG(.capacity_bytes = 1, .overhead_limit_bytes = 1 << 20), 4096,
           "[Service]\nMemoryMax=5M\nLimitMEMLOCK=1M\n");
    expect(CONFIG(.capacity_bytes = (1 << 20) + 1, .overhead_limit_bytes = (1 << 20) + 1), 4096,
           "[Service]\nMemoryMax=6M\nLimitMEMLOCK=2M\n");
}
END_TEST

/* Only an address opens the network, and only for the family and the peers that it needs. */
START_TEST(metrics)
{
    struct config config = {.capacity_bytes = 50 << 20, .overhead_limit_bytes = 64 << 20};
    static const struct {
        const char *address, *settings;
    } cases[] = {
        {"/run/edgemind/metrics", ""},
        {"127.0.0.1:9464", "RestrictAddressFamilies=AF_INET\nPrivateNetwork=no\n"
                           "IPAddressAllow=localhost\n"},
        {"[::1]:9464", "RestrictAddressFamilies=AF_INET6\nPrivateNetwork=no\n"
                       "IPAddressAllow=localhost\n"},
        {"0.0.0.0:9464", "RestrictAddressFamilies=AF_INET\nPrivateNetwork=no\n"
                         "IPAddressAllow=any\n"},
    };
    char expected[256];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        config.metrics_listen = (char *)(uintptr_t)cases[i].address;
        snprintf(expected, sizeof expected, "[Service]\nMemoryMax=129M\nLimitMEMLOCK=50M\n%s",
                 cases[i].settings);
        expect(&config, 4096, expected);
    }
}
END_TEST

START_TEST(figures_are_explained)
{
    struct config config = {.capacity_bytes = UINT64_C(2) << 30, .overhead_limit_bytes = 96 << 20};
    static const char *const parts[] = {
        "2147483648 bytes", "2.0 GiB",        "96.0 MiB",      "8.5 MiB",
        "capacity",         "overhead-limit", "of 4096 bytes", "only with mlock = yes"};
    char *text = print(&config, 4096, 0);

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        ck_assert_msg(strstr(text, parts[i]) != NULL, "'%s' is not in:\n%s", parts[i], text);
    free(text);

    config.mlock = true;
    text = print(&config, 4096, 0);
    ck_assert_ptr_null(strstr(text, "only with"));
    free(text);
}
END_TEST

START_TEST(too_large_for_a_limit)
{
    static const struct config too_large[] = {
        {.capacity_bytes = UINT64_MAX, .overhead_limit_bytes = 1 << 20},
        {.capacity_bytes = INT64_MAX, .overhead_limit_bytes = INT64_MAX},
        {.capacity_bytes = UINT64_MAX - (64 << 20) - 4095, .overhead_limit_bytes = 64 << 20},
    };
    char *text = print(&too_large[_i], 4096, -EOVERFLOW);

    ck_assert_str_eq(text, "");
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dropin");
    TCase *tcase = tcase_create("dropin");

    tcase_add_test(tcase, sums);
    tcase_add_test(tcase, metrics);
    tcase_add_test(tcase, figures_are_explained);
    tcase_add_loop_test(tcase, too_large_for_a_limit, 0, 3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
