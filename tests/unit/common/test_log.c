/* The entries that reach the sink: their levels, one line whatever a name has, and errno is
 * preserved. */
#include "common/log.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
    unsigned n;
    enum log_level level;
    char line[8192];
    const struct log_field *fields;
    size_t n_fields;
} seen;

static void remember(enum log_level level, const char *line, const struct log_field *fields,
                     size_t n_fields)
{
    seen.n++;
    seen.level = level;
    snprintf(seen.line, sizeof seen.line, "%s", line);
    seen.fields = fields;
    seen.n_fields = n_fields;
    errno = EIO;
}

static void setup(void)
{
    memset(&seen, 0, sizeof seen);
    log_set_sink(remember);
    log_set_level(LOG_LEVEL_INFO);
}

static void teardown(void)
{
    log_set_sink(NULL);
    log_set_level(LOG_LEVEL_INFO);
}

START_TEST(levels)
{
    static const char *const names[] = {"error", "warning", "notice", "info", "debug"};
    enum log_level level = LOG_LEVEL_NOTICE;

    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(log_level_parse(names[i], &level), 0);
        ck_assert_int_eq(level, LOG_LEVEL_ERROR + i);
        ck_assert_str_eq(log_level_name(level), names[i]);
    }
    ck_assert_int_eq(log_level_parse("Error", &level), -EINVAL);
    ck_assert_int_eq(log_level_parse("", &level), -EINVAL);
    ck_assert_int_eq(log_level_parse("7", &level), -EINVAL);
    ck_assert_int_eq(level, LOG_LEVEL_DEBUG);
}
END_TEST

START_TEST(less_important_entries_are_dropped)
{
    log_debug("debug");
    ck_assert_uint_eq(seen.n, 0);
    log_info("info");
    ck_assert_uint_eq(seen.n, 1);
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("warning");
    ck_assert_uint_eq(seen.n, 1);
    log_error("number %d", 5);
    ck_assert_uint_eq(seen.n, 2);
    ck_assert_int_eq(seen.level, LOG_LEVEL_ERROR);
    ck_assert_str_eq(seen.line, "number 5");
}
END_TEST

START_TEST(errno_and_fields_are_kept)
{
    struct log_field field = {"MODEL", "a\nb"};

    errno = ENOENT;
    log_write(LOG_LEVEL_INFO, &field, 1, "%m");
    ck_assert_int_eq(errno, ENOENT);
    ck_assert_str_eq(seen.line, "No such file or directory");
    ck_assert_ptr_eq(seen.fields, &field);
    ck_assert_uint_eq(seen.n_fields, 1);
}
END_TEST

START_TEST(an_entry_is_one_line)
{
    log_info("a%sb", "\n<3>forged\r\x1b[2J\x7f\t\xc2\x9b \xc3\xa9 \xc2\xa9");
    ck_assert_str_eq(seen.line, "a?<3>forged??[2J???? \xc3\xa9 \xc2\xa9"
                                "b");
}
END_TEST

START_TEST(a_long_entry_is_cut_at_a_character)
{
    char text[5000];

    for (int shift = 0; shift < 3; shift++) {
        memset(text, 'x', sizeof text);
        for (size_t i = (size_t)shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 3);
        text[sizeof text - 1] = '\0';
        log_info("%s", text);
        size_t n = strlen(seen.line);
        ck_assert_uint_le(n, 2048);
        ck_assert_uint_gt(n, 2040);
        ck_assert_str_eq(seen.line + n - 3, "...");
        ck_assert_uint_eq((n - 3 - (size_t)shift) % 3, 0);
        ck_assert_mem_eq(seen.line, text, n - 3);
    }
}
END_TEST

START_TEST(default_sink)
{
    char text[4096], expected[128];
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    int saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    log_set_sink(NULL);
    log_info("one\ntwo");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    ssize_t n = read(ends[0], text, sizeof text);
    close(ends[0]);
    snprintf(expected, sizeof expected, "%s: one?two\n", program_invocation_short_name);
    ck_assert_int_eq(n, (ssize_t)strlen(expected));
    ck_assert_mem_eq(text, expected, (size_t)n);
}
END_TEST

/* Fills a pipe: to the last byte, or so that an entry would fit in part. */
static void fill(int fd, size_t n_left)
{
    char page[4096] = {0};
    int flags = fcntl(fd, F_GETFL), n_bytes = fcntl(fd, F_GETPIPE_SZ);
    ck_assert_int_gt(n_bytes, 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    for (size_t n = (size_t)n_bytes - n_left; n > 0;) {
        ssize_t written = write(fd, page, n < sizeof page ? n : sizeof page);
        ck_assert_int_gt(written, 0);
        n -= (size_t)written;
    }
    ck_assert_int_eq(fcntl(fd, F_SETFL, flags), 0);
}

/* Logging does not wait for the reader; entries that are read later are complete. */
START_TEST(a_pipe_that_nobody_reads)
{
    enum { PIPE_BYTES_MAX = 1 << 20 };
    static char text[PIPE_BYTES_MAX];
    char expected[128];

    for (size_t n_left = 0; n_left < 20; n_left += 10) {
        int ends[2], saved = dup(STDERR_FILENO);
        ck_assert_int_eq(pipe(ends), 0);
        int n_bytes = fcntl(ends[1], F_GETPIPE_SZ);
        ck_assert_int_le(n_bytes, PIPE_BYTES_MAX);
        fill(ends[1], n_left);
        dup2(ends[1], STDERR_FILENO);
        log_set_sink(NULL);
        log_info("lost: longer than what there is room for");
        ck_assert_int_eq(read(ends[0], text, sizeof text), n_bytes - (int)n_left);
        log_info("there");
        dup2(saved, STDERR_FILENO);
        close(saved);
        close(ends[1]);
        ssize_t n = read(ends[0], text, sizeof text);
        close(ends[0]);
        snprintf(expected, sizeof expected, "%s: there\n", program_invocation_short_name);
        ck_assert_int_eq(n, (ssize_t)strlen(expected));
        ck_assert_mem_eq(text, expected, (size_t)n);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tests = tcase_create("log");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, levels);
    tcase_add_test(tests, less_important_entries_are_dropped);
    tcase_add_test(tests, errno_and_fields_are_kept);
    tcase_add_test(tests, an_entry_is_one_line);
    tcase_add_test(tests, a_long_entry_is_cut_at_a_character);
    tcase_add_test(tests, default_sink);
    tcase_add_test(tests, a_pipe_that_nobody_reads);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
