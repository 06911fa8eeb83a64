/* The syntax of a configuration file, line by line. Runs in the checkout's directory, because it
 * also reads the shipped file. */
#include "daemon/config.h"

#include "tests/unit/config_fixture.h"
#include "tests/unit/run_suite.h"

static const struct {
    const char *text, *part;
} bad_files[] = {
    {"capacity = 1M\n[daemon]\n", ":2: sections are not allowed"},
    {"capacity = 1M\n  [daemon]\nloaders = 1\n", ":2: sections are not allowed"},
    {"capacity = 1M\nloaders\n", ":2: not a line of the form"},
    {"capacity = 1M\nloaders\nloaders = 99\n", ":2: not a line of the form"},
    {"capacity = 1M\nloaders = 99\nloaders\n", ":2: '99'"},
    {"capacity = 1M\n\n# x\ncapacity = 2M\n", ":4: capacity is already set in line 1"},
    {"capacity = 1M\npolcy = lru\n", ":2: no option 'polcy'; did you mean 'policy'?"},
    {"capacity = 1M\nconfig = x\n", ":2: no option 'config'"},
    {"capacity = 1M\nsimulate = yes\n", ":2: no option 'simulate'"},
    {"capacity = 1M\nmax_connections = 5\n", "did you mean 'max-connections'?"},
    {"capacity = 1M\nCapacity = 5\n", "did you mean 'capacity'?"},
    {"capacity = 1M\n = 5\n", ":2: no option ''"},
    {"capacity = 1M\nloaders = 2\n  3\n", ":3: not a line of the form"},
    {"loaders = 2\n", "capacity is not set: write 'capacity = SIZE' in "},
};

START_TEST(bad_file)
{
    char part[512];

    write_file(bad_files[_i].text);
    snprintf(part, sizeof part, "%s%s", bad_files[_i].part[0] == ':' ? path : "",
             bad_files[_i].part);
    BAD(-EINVAL, part, with_file());
}
END_TEST

START_TEST(long_lines)
{
    char text[512] = "capacity = 1M\nmodel-dir = /";
    size_t start = strlen(text), line = strlen("model-dir = /");

    memset(text + start, 'x', 180 - line);
    write_file(text);
    GOOD(with_file());
    ck_assert_uint_eq(strlen(config.model_dir), 180 - line + 1);

    memset(text + start, 'x', 300 - line);
    write_file(text);
    BAD(-E2BIG, ":2: the line is longer than", with_file());

    /* This also holds for a comment: if it were cut in two, its end would be read as an option. */
    memcpy(text + strlen("capacity = 1M\n"), "#", 1);
    write_file(text);
    BAD(-E2BIG, ":2: the line is longer than", with_file());
}
END_TEST

START_TEST(nul_in_a_file)
{
    write_bytes("capacity = 1M\nloaders = 2\0\n", 27);
    BAD(-EINVAL, ":2: the line has a NUL byte", with_file());
}
END_TEST

START_TEST(size_of_a_file)
{
    enum { LIMIT = 64 << 10 };
    char *text = malloc(LIMIT + 1);

    memset(text, '\n', LIMIT + 1);
    memcpy(text, "capacity = 1M", 13);
    write_bytes(text, LIMIT);
    GOOD(with_file());
    write_bytes(text, LIMIT + 1);
    BAD(-EFBIG, "larger than 65536 bytes", with_file());
    free(text);
}
END_TEST

START_TEST(not_a_file)
{
    BAD(-ENOENT, "cannot open", with_file(), "--capacity=1M");
    BAD(-EINVAL, "not a regular file", "--config", directory, "--capacity=1M");
    BAD(-EINVAL, "not a regular file", "--config=/dev/zero", "--capacity=1M");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    BAD(-EINVAL, "not a regular file", with_file(), "--capacity=1M"); /* and does not block */
    BAD(-ENOENT, "cannot open", "--config=", "--capacity=1M");
}
END_TEST

static char *read_whole(const char *name)
{
    FILE *file = fopen(name, "r");

    ck_assert_msg(file != NULL, "%s: %s", name, strerror(errno));
    char *text = calloc(1, 64 << 10);
    ck_assert_uint_lt(fread(text, 1, (64 << 10) - 1, file), (64 << 10) - 1);
    fclose(file);
    return text;
}

/* The shipped file has the right defaults: without the comment marks it changes nothing. */
START_TEST(shipped_file)
{
    char *text = read_whole("systemd/edgemindd.conf"), *help = NULL;
    size_t help_size;
    unsigned cursor = 0;
    bool reloadable;

    struct config shipped = LOADED("--config=systemd/edgemindd.conf");
    ck_assert_uint_eq(shipped.capacity_bytes, 50 << 20);

    FILE *stream = open_memstream(&help, &help_size);
    config_print_help(stream);
    fclose(stream);
    char *only_command_line = strstr(help, "Only on the command line");
    ck_assert_ptr_nonnull(only_command_line);
    unsigned n_options = 0;
    for (char *name = help; (name = strstr(name, "\n  --")) && name < only_command_line;) {
        char line[64];
        name += strlen("\n  --");
        snprintf(line, sizeof line, "%.*s =", (int)strcspn(name, "="), name);
        if (strncmp(line, "capacity", 8) != 0) {
            char *commented = strstr(text, line);
            ck_assert_msg(commented && commented > text && commented[-1] == '#',
                          "the shipped file does not comment '%s'", line);
            commented[-1] = ' ';
        }
        n_options++;
    }
    ck_assert_uint_ge(n_options, 16);
    write_file(text);
    struct config uncommented = LOADED(with_file());
    const char *name = config_next_difference(&shipped, &uncommented, &cursor, &reloadable);
    ck_assert_msg(name == NULL, "the shipped default of %s is wrong", name);
    config_done(&shipped);
    config_done(&uncommented);
    free(text);
    free(help);
}
END_TEST

/* As a loss of power may leave a file: cut, or with zeros instead of its end. What is not refused,
 * and is not the file up to the end of a line, is warned of. */
START_TEST(cut_or_zeroed)
{
    static const char text[] = "capacity = 1000M\n# a comment\nloaders = 16\n\n"
                               "overhead-limit = 640M\npolicy = next-use\n";
    enum { N = sizeof text - 1 };

    for (size_t n = 0; n <= N; n++) {
        struct config cut;
        enum config_action action;
        char why[CONFIG_WHY_MAX], zeroed[N] = {0};
        unsigned line = 1;

        for (size_t i = 0; i < n; i++)
            line += text[i] == '\n';
        write_bytes(text, n);
        int r = load(LIST(with_file(), "--capacity=1G"), &cut, &action, why);
        if (r == 0) {
            bool is_open = n > 0 && text[n - 1] != '\n' && line != 2;
            ck_assert_msg(cut.open_line == (is_open ? line : 0), "%zu bytes: %u", n, cut.open_line);
            config_done(&cut);
        } else {
            ck_assert_int_eq(r, -EINVAL);
            ck_assert(text[n - 1] != '\n');
            ck_assert_ptr_nonnull(strstr(why, path));
        }
        if (n == N)
            break;
        memcpy(zeroed, text, n);
        write_bytes(zeroed, N);
        BAD(-EINVAL, path, with_file(), "--capacity=1G");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_file");
    TCase *tcase = tcase_create("config_file");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, bad_file, 0, sizeof bad_files / sizeof bad_files[0]);
    tcase_add_test(tcase, long_lines);
    tcase_add_test(tcase, nul_in_a_file);
    tcase_add_test(tcase, size_of_a_file);
    tcase_add_test(tcase, not_a_file);
    tcase_add_test(tcase, shipped_file);
    tcase_add_test(tcase, cut_or_zeroed);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
