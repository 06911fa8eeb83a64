/* emctl's command line: options before and after the verb, and all usage errors. */
#include "client/emctl/arguments.h"
#include "client/emctl/verb.h"
#include "common/error.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct verb verbs[] = {
    {"load", "MODEL LAYER", 2, 2, OPTION_ON_FULL | OPTION_KNOWN, NULL, "load"},
    {"plan", "FILE", 1, 1, OPTION_CAPACITY | OPTION_POLICY | OPTION_RUN | OPTION_NAME, NULL,
     "plan"},
    {"hold", "MODEL [LAYER...] -- COMMAND", 1, 1, OPTION_WAIT | OPTION_UNIT, NULL, "hold", true},
    {"exec", "-- COMMAND", 0, 0, OPTION_VIEW, NULL, "exec", true},
    {"cat", "MODEL LAYER [TENSOR]", 2, 3, OPTION_FORCE | OPTION_TENSORS, NULL, "cat"},
    {"list", "[MODEL]", 0, 1, 0, NULL, "list"},
    {0},
};

enum { WORDS_MAX = 8 };

/* Parses `words`, ended by NULL, with standard error out of the way. */
static int parse(const char *const *words, struct arguments *ret)
{
    static char *argv[WORDS_MAX + 2]; /* lives on: arguments are borrowed from it */
    static char name[] = "emctl";
    int argc = 1;

    memset(argv, 0, sizeof argv);
    argv[0] = name;
    while (words[argc - 1]) {
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
        argc++;
    }
    fflush(stderr);
    int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDERR_FILENO);
    int r = arguments_parse(argc, argv, verbs, ret);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(null);
    return r;
}

static const struct {
    const char *words[WORDS_MAX];
    struct arguments arguments; /* all words except the verb */
    const char *verb;
} good[] = {
    {{"list"}, {0}, "list"},
    {{"list", "m"}, {.operands = {"m"}, .n_operands = 1}, "list"},
    {{"--json", "list"}, {.json = true}, "list"},
    {{"list", "--json"}, {.json = true}, "list"},
    {{"--socket", "list", "list"}, {.socket = "list"}, "list"},
    {{"list", "--socket=a=b"}, {.socket = "a=b"}, "list"},
    {{"-H", "cat", "list"}, {.host = "cat"}, "list"},
    {{"-Hme@host", "list", "m"}, {.host = "me@host", .operands = {"m"}, .n_operands = 1}, "list"},
    {{"list", "-jqH", "h"}, {.host = "h", .json = true, .quiet = true}, "list"},
    {{"--host=h", "list"}, {.host = "h"}, "list"},
    {{"--on-full", "ask", "load", "a", "b"},
     {.on_full = "ask", .operands = {"a", "b"}, .n_operands = 2},
     "load"},
    {{"load", "a", "--on-full=evict", "b"},
     {.on_full = "evict", .operands = {"a", "b"}, .n_operands = 2},
     "load"},
    {{"plan", "f", "--capacity=1.5G", "--policy=lru"},
     {.capacity = "1.5G", .policy = "lru", .operands = {"f"}, .n_operands = 1},
     "plan"},
    {{"list", "--", "--json"}, {.operands = {"--json"}, .n_operands = 1}, "list"},
    {{"--", "list"}, {0}, "list"},
    {{"plan", "f", "--name", "M\xc3\xbcller 7B"},
     {.name = "M\xc3\xbcller 7B", .operands = {"f"}, .n_operands = 1},
     "plan"},
    {{"cat", "m", "l", "t", "--force"},
     {.operands = {"m", "l", "t"}, .n_operands = 3, .force = true},
     "cat"},
    {{"--tensors", "cat", "m", "l"},
     {.operands = {"m", "l"}, .n_operands = 2, .tensors = true},
     "cat"},
    {{"plan", "f", "--passes=1000", "--disk-rate", "1.5G", "--compute=1.5s"},
     {.passes = "1000", .disk_rate = "1.5G", .compute = "1.5s", .operands = {"f"}, .n_operands = 1},
     "plan"},
    {{"plan", "f", "--passes=1", "--compute=0"},
     {.passes = "1", .compute = "0", .operands = {"f"}, .n_operands = 1},
     "plan"},
    {{"plan", "f", "--disk-rate=9223372036854775807"},
     {.disk_rate = "9223372036854775807", .operands = {"f"}, .n_operands = 1},
     "plan"},
    {{"--help"}, {.help = true}, NULL},
    {{"load", "--help"}, {.help = true}, "load"},
    {{"load", "a", "b", "c", "--help"},
     {.help = true, .operands = {"a", "b"}, .n_operands = 2},
     "load"},
    {{"--version"}, {.version = true}, NULL},
    {{"-h"}, {.help = true}, NULL},
    {{"-V"}, {.version = true}, NULL},
    {{"list", "-j"}, {.json = true}, "list"},
    {{"-q", "list"}, {.quiet = true}, "list"},
    {{"list", "-qjh"}, {.json = true, .quiet = true, .help = true}, "list"},
    {{"plan", "f", "--policy=all"}, {.policy = "all", .operands = {"f"}, .n_operands = 1}, "plan"},
    {{"load", "a", "b", "--if-absent"},
     {.if_absent = true, .operands = {"a", "b"}, .n_operands = 2},
     "load"},
    {{"load", "a", "b", "--replace"},
     {.replace = true, .operands = {"a", "b"}, .n_operands = 2},
     "load"},
};

static void check_text(const char *got, const char *wanted)
{
    if (wanted)
        ck_assert_str_eq(got, wanted);
    else
        ck_assert_ptr_null(got);
}

START_TEST(accepted)
{
    struct arguments arguments;
    const struct arguments *wanted = &good[_i].arguments;

    ck_assert_int_eq(parse(good[_i].words, &arguments), EXIT_DONE);
    check_text(arguments.verb ? arguments.verb->name : NULL, good[_i].verb);
    ck_assert_uint_eq(arguments.n_operands, wanted->n_operands);
    for (unsigned i = 0; i < OPERANDS_MAX; i++)
        check_text(arguments.operands[i], wanted->operands[i]);
    check_text(arguments.socket, wanted->socket);
    check_text(arguments.host, wanted->host);
    check_text(arguments.on_full, wanted->on_full);
    check_text(arguments.policy, wanted->policy);
    check_text(arguments.capacity, wanted->capacity);
    check_text(arguments.passes, wanted->passes);
    check_text(arguments.disk_rate, wanted->disk_rate);
    check_text(arguments.compute, wanted->compute);
    ck_assert_ptr_null(arguments.command);
    ck_assert_int_eq(arguments.json, wanted->json);
    ck_assert_int_eq(arguments.quiet, wanted->quiet);
    ck_assert_int_eq(arguments.if_absent, wanted->if_absent);
    ck_assert_int_eq(arguments.replace, wanted->replace);
    check_text(arguments.name, wanted->name);
    ck_assert_int_eq(arguments.tensors, wanted->tensors);
    ck_assert_int_eq(arguments.force, wanted->force);
    ck_assert_int_eq(arguments.help, wanted->help);
    ck_assert_int_eq(arguments.version, wanted->version);
}
END_TEST

/* The words before and after the "--" that begins a command. */
static const struct {
    const char *words[WORDS_MAX];
    const char *list[WORDS_MAX], *command[WORDS_MAX];
    const char *wait;
} commands[] = {
    {{"hold", "m", "--", "true"}, {NULL}, {"true"}, NULL},
    {{"hold", "m", "a", "b", "c", "--", "true"}, {"a", "b", "c"}, {"true"}, NULL},
    {{"hold", "m", "a", "--wait=1min", "b", "--", "true"}, {"a", "b"}, {"true"}, "1min"},
    {{"--wait", "60", "hold", "m", "a", "--", "true"}, {"a"}, {"true"}, "60"},
    {{"hold", "m", "--wait", "0", "a", "--", "ls"}, {"a"}, {"ls"}, "0"},
    {{"hold", "m", "--", "x", "--help", "--", "-y"}, {NULL}, {"x", "--help", "--", "-y"}, NULL},
    {{"--", "hold", "m", "--wait", "--", "true"}, {"--wait"}, {"true"}, NULL},
    {{"hold", "m", "", "--", ""}, {""}, {""}, NULL},
};

START_TEST(commands_are_left_alone)
{
    struct arguments arguments;
    unsigned n_list = 0;

    ck_assert_int_eq(parse(commands[_i].words, &arguments), EXIT_DONE);
    ck_assert_uint_eq(arguments.n_operands, 1);
    ck_assert_str_eq(arguments.operands[0], "m");
    check_text(arguments.wait, commands[_i].wait);
    for (; commands[_i].list[n_list]; n_list++) {
        ck_assert_uint_lt(n_list, arguments.n_list);
        ck_assert_str_eq(arguments.list[n_list], commands[_i].list[n_list]);
    }
    ck_assert_uint_eq(arguments.n_list, n_list);
    for (unsigned i = 0; i == 0 || commands[_i].command[i - 1]; i++)
        check_text(arguments.command[i], commands[_i].command[i]);
}
END_TEST

START_TEST(models)
{
    static const char *const words[] = {"exec", "--model=a=b=c", "--model", "b=/f", "--auto",
                                        "--",   "true",          NULL};
    struct arguments arguments;

    ck_assert_int_eq(parse(words, &arguments), EXIT_DONE);
    ck_assert_uint_eq(arguments.n_models, 2);
    ck_assert_str_eq(arguments.models[0], "a=b=c");
    ck_assert_str_eq(arguments.models[1], "b=/f");
    ck_assert(arguments.automatic && !arguments.or_file && !arguments.verbose);
    ck_assert_str_eq(arguments.command[0], "true");
}
END_TEST

#define NAME_16  "0123456789abcdef"
#define NAME_64  NAME_16 NAME_16 NAME_16 NAME_16
#define NAME_256 NAME_64 NAME_64 NAME_64 NAME_64 /* one byte too many */

static const char *const bad[][WORDS_MAX] = {
    {NULL},
    {"--json"},
    {"nope"},
    {"nope", "--help"},
    {""},
    {"--nope"},
    {"--help", "--nope"},
    {"-"},
    {"-x", "list"},
    {"-jx", "list"},
    {"list", "-j=1"},
    {"plan", "f", "--policy=x"},
    {"load", "a", "b", "--if-absent", "--replace"},
    {"list", "--replace"},
    {"list", "--js"},
    {"list", "--jsonx"},
    {"list", "--json=1"},
    {"list", "a", "b"},
    {"load", "a"},
    {"load", "a", "b", "c"},
    {"list", "--on-full=ask"},
    {"--on-full=ask", "list"},
    {"load", "a", "b", "--on-full=maybe"},
    {"load", "a", "b", "--on-full="},
    {"load", "a", "b", "--on-full"},
    {"load", "a", "b", "--capacity=1M"},
    {"plan", "f", "--capacity=0"},
    {"plan", "f", "--capacity=lots"},
    {"plan", "f", "--capacity=-1"},
    {"plan", "f", "--capacity=99E"},
    {"plan", "f", "--name="},
    {"plan", "f", "--name=a/b"},
    {"plan", "f", "--name=a\tb"},
    {"plan", "f", "--name=a\xc2\x9b"},
    {"plan", "f", "--name=\xff"},
    {"plan", "f", "--name", NAME_256},
    {"list", "--name=a"},
    {"plan", "f", "--passes=0"},
    {"plan", "f", "--passes=1001"},
    {"plan", "f", "--passes=18446744073709551617"},
    {"plan", "f", "--passes="},
    {"plan", "f", "--passes=-1"},
    {"plan", "f", "--passes=+1"},
    {"plan", "f", "--passes= 1"},
    {"plan", "f", "--passes=1.5"},
    {"plan", "f", "--passes=5x"},
    {"list", "--passes=5"},
    {"plan", "f", "--disk-rate=0"},
    {"plan", "f", "--disk-rate=fast"},
    {"plan", "f", "--disk-rate=500M/s"},
    {"plan", "f", "--disk-rate=9223372036854775808"},
    {"plan", "f", "--compute=-1s"},
    {"plan", "f", "--compute=2m"},
    {"plan", "f", "--compute=9223372036854775808us"},
    {"plan", "f", "--wait=1s"},
    {"plan", "f", "--", "true"},
    {"hold"},
    {"hold", "m"},
    {"hold", "m", "l"},
    {"hold", "m", "l", "--"},
    {"hold", "--", "true"},
    {"hold", "m", "--wait=61s", "--", "true"},
    {"hold", "m", "--wait=long", "--", "true"},
    {"hold", "m", "--force", "--", "true"},
    {"exec"},
    {"exec", "true"},
    {"exec", "m", "--", "true"},
    {"exec", "--model=a", "--", "true"},
    {"exec", "--model=a=", "--", "true"},
    {"exec", "--model==f", "--", "true"},
    {"exec", "--model=a/b=f", "--", "true"},
    {"exec", "--model=" NAME_256 "=f", "--", "true"},
    {"exec", "--wait=1s", "--", "true"},
    {"hold", "m", "--auto", "--", "true"},
    {"cat", "m", "l", "--force=1"},
    {"cat", "m"},
    {"cat", "m", "l", "t", "u"},
    {"list", "--socket="},
    {"list", "--socket"},
    {"-H"},
    {"list", "-jH"},
    {"list", "-H", ""},
    {"list", "-Hh", "--hosts=f"},
    {"plan", "f", "-Hh", "--capacity=1M"},
    {"list", "--", "a", "b"},
};

START_TEST(refused)
{
    struct arguments arguments = {.json = true};

    ck_assert_int_eq(parse(bad[_i], &arguments), EXIT_USAGE);
    ck_assert(arguments.json); /* untouched */
}
END_TEST

static const struct {
    const char *word, *guess;
} guesses[] = {
    {"lod", "load"},   {"loda", "load"}, {"lis", "list"},
    {"lists", "list"}, {"h", "hold"},    {"cta", "cat"},
    {"xyzzy", NULL},   {"", NULL},       {"stop-everything-at-once", NULL},
};

START_TEST(unknown_verbs)
{
    check_text(arguments_guess_verb(verbs, guesses[_i].word), guesses[_i].guess);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arguments");
    TCase *tests = tcase_create("arguments");

    tcase_add_loop_test(tests, accepted, 0, (int)(sizeof good / sizeof *good));
    tcase_add_loop_test(tests, commands_are_left_alone, 0,
                        (int)(sizeof commands / sizeof *commands));
    tcase_add_test(tests, models);
    tcase_add_loop_test(tests, refused, 0, (int)(sizeof bad / sizeof *bad));
    tcase_add_loop_test(tests, unknown_verbs, 0, (int)(sizeof guesses / sizeof *guesses));
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
