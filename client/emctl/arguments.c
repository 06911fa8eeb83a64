/* Owns the table of options. Leaves the table of verbs, and with it the help, to emctl.c, and what
 * values are valid to checks.c. */
#include "client/emctl/arguments.h"

#include "client/emctl/checks.h"
#include "client/emctl/error_message.h"
#include "client/emctl/spelling.h"
#include "common/error.h"
#include "common/policy_names.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct option {
    const char *name;
    char letter;       /* the short form, as 'h' for -h; 0: none */
    const char *value; /* what help calls it; NULL: a flag */
    size_t offset;     /* in struct arguments: const char *, or bool for a flag */
    unsigned verb_option;
    bool (*check)(const char *value);
    const char *summary;
};

bool arguments_is_policy(const char *name)
{
    size_t n = strlen(name);

    for (const char *word = POLICY_NAMES("|", "|"), *end;; word = end + 1) {
        end = strchrnul(word, '|');
        if ((size_t)(end - word) == n && memcmp(word, name, n) == 0)
            return true;
        if (!*end)
            return false;
    }
}

static bool check_policy(const char *value)
{
    return strcmp(value, "all") == 0 || arguments_is_policy(value);
}

static const struct option options[] = {
    {"--on-full", 0, "evict|ask", offsetof(struct arguments, on_full), OPTION_ON_FULL,
     check_on_full, "when the arena is full: evict layers, or stop"},
    {"--capacity", 0, "SIZE", offsetof(struct arguments, capacity), OPTION_CAPACITY, check_capacity,
     "plan for an arena of that size (as 50M), without a daemon"},
    {"--trace", 0, "FILE", offsetof(struct arguments, trace), OPTION_CAPACITY, check_path,
     "replay a route trace of experts through --capacity"},
    {"--experts", 0, "N", offsetof(struct arguments, experts), OPTION_CAPACITY, check_experts,
     "plan by experts; a token uses N of each layer"},
    {"--policy", 0, "POLICY", offsetof(struct arguments, policy), OPTION_POLICY, check_policy,
     POLICY_NAMES(", ", ", ") ", or all to compare them"},
    {"--passes", 0, "N", offsetof(struct arguments, passes), OPTION_RUN, check_passes,
     "also show N passes of a run (1 to 1000)"},
    {"--disk-rate", 0, "RATE", offsetof(struct arguments, disk_rate), OPTION_RUN, check_rate,
     "predict times; the disk reads RATE bytes a second"},
    {"--compute", 0, "TIME", offsetof(struct arguments, compute), OPTION_RUN, check_compute,
     "predict times; a pass computes for TIME (as 2ms)"},
    {"--wait", 0, "TIME", offsetof(struct arguments, wait), OPTION_WAIT, check_wait,
     "wait up to TIME (at most 60s) for layers that others hold"},
    {"--name", 0, "NAME", offsetof(struct arguments, name), OPTION_NAME, check_name,
     "the model's name (a definition has its own name)"},
    {"--if-absent", 0, NULL, offsetof(struct arguments, if_absent), OPTION_KNOWN, NULL,
     "do nothing if the daemon knows the model already"},
    {"--replace", 0, NULL, offsetof(struct arguments, replace), OPTION_KNOWN, NULL,
     "unload the model first if the daemon knows it already"},
    {"--model", 0, "NAME=FILE", offsetof(struct arguments, models), OPTION_VIEW, check_model,
     "register the model in FILE first; may be repeated"},
    {"--auto", 0, NULL, offsetof(struct arguments, automatic), OPTION_VIEW, NULL,
     "register the weight files that the command maps"},
    {"--or-file", 0, NULL, offsetof(struct arguments, or_file), OPTION_VIEW, NULL,
     "run it on the plain files if there can be no views"},
    {"--view-grace", 0, "TIME", offsetof(struct arguments, view_grace), OPTION_VIEW, check_compute,
     "if the daemon ends, wait TIME (30s) for another"},
    {"--verbose", 0, NULL, offsetof(struct arguments, verbose), OPTION_VIEW, NULL,
     "report which files are views, and why others are not"},
    {"--tensors", 0, NULL, offsetof(struct arguments, tensors), OPTION_TENSORS, NULL,
     "show each layer's tensors"},
    {"--svg", 0, "FILE", offsetof(struct arguments, svg), OPTION_SVG, check_path,
     "the picture's file"},
    {"--hosts", 0, "FILE", offsetof(struct arguments, hosts), OPTION_HOSTS, check_path,
     "the daemons of the hosts in FILE, through ssh"},
    {"--watch", 0, NULL, offsetof(struct arguments, watch), OPTION_WATCH, NULL,
     "show it again and again, until interrupted"},
    {"--units", 0, NULL, offsetof(struct arguments, units), OPTION_TENSORS, NULL,
     "show each layer's experts and other units"},
    {"--unit", 0, "N[,N...]", offsetof(struct arguments, unit_list), OPTION_UNIT, check_units,
     "only these experts or other units of the layer"},
    {"--force", 0, NULL, offsetof(struct arguments, force), OPTION_FORCE, NULL,
     "write even to a terminal"},
    {"--socket", 0, "PATH", offsetof(struct arguments, socket), 0, check_path,
     "the daemon's socket"},
    {"--host", 'H', "[USER@]HOST", offsetof(struct arguments, host), 0, check_path,
     "the daemon of that host, through ssh"},
    {"--json", 'j', NULL, offsetof(struct arguments, json), 0, NULL,
     "print the daemon's replies as JSON"},
    {"--quiet", 'q', NULL, offsetof(struct arguments, quiet), 0, NULL,
     "do not report what was done, only what failed"},
    {"--help", 'h', NULL, offsetof(struct arguments, help), 0, NULL, "show help and exit"},
    {"--version", 'V', NULL, offsetof(struct arguments, version), 0, NULL,
     "show the version and exit"},
};

enum { N_OPTIONS = sizeof options / sizeof *options };

const struct verb *arguments_find_verb(const struct verb *verbs, const char *name)
{
    for (const struct verb *verb = verbs; verb->name; verb++)
        if (strcmp(verb->name, name) == 0)
            return verb;
    return NULL;
}

void arguments_print_options(FILE *out, unsigned selected)
{
    for (const struct option *option = options; option < options + N_OPTIONS; option++) {
        char left[40];
        if (selected == 0 ? option->verb_option != 0 : !(option->verb_option & selected))
            continue;
        snprintf(left, sizeof left, "%c%c%s%s%s%s", option->letter ? '-' : ' ',
                 option->letter ? option->letter : ' ', option->letter ? ", " : "  ", option->name,
                 option->value ? "=" : "", option->value ? option->value : "");
        fprintf(out, "  %-25s  %s\n", left, option->summary);
    }
}

__attribute__((format(printf, 2, 3))) static int usage(const struct verb *verb, const char *format,
                                                       ...)
{
    va_list arguments;

    fputs("emctl: ", stderr);
    va_start(arguments, format);
    error_message_vprint(format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s Try 'emctl %s%s--help'.\n", format[strlen(format) - 1] == '?' ? "" : ".",
            verb ? verb->name : "", verb ? " " : "");
    return EXIT_USAGE;
}

/* "--name" or "--name=value". */
static const struct option *find_option(const char *argument)
{
    size_t n = strcspn(argument, "=");

    for (const struct option *option = options; option < options + N_OPTIONS; option++)
        if (strlen(option->name) == n && strncmp(option->name, argument, n) == 0)
            return option;
    return NULL;
}

static const struct option *find_letter(char letter)
{
    for (const struct option *option = options; option < options + N_OPTIONS; option++)
        if (option->letter == letter)
            return option;
    return NULL;
}

static int set_value(const struct option *option, const char *value, struct arguments *arguments)
{
    const struct verb *verb = arguments->verb;

    if (!value)
        return usage(verb, "option '%s' needs a value: %s", option->name, option->value);
    if (option->check == check_policy && !check_policy(value))
        return usage(verb,
                     "there is no policy '%s'; the policies are " POLICY_NAMES(
                         ", ", " and ") ", and all compares them",
                     value);
    if (option->check && !option->check(value))
        return usage(verb, "'%s' is no value for %s=%s", value, option->name, option->value);
    if (option->check == check_model) {
        if (arguments->n_models == MODELS_MAX)
            return usage(verb, "at most %d times '%s'", MODELS_MAX, option->name);
        arguments->models[arguments->n_models++] = value;
        return EXIT_DONE;
    }
    *(const char **)((char *)arguments + option->offset) = value;
    return EXIT_DONE;
}

/* Takes one or more flags, as "-jq". The last one may have a value, as "-H HOST" or "-HHOST". Moves
 * *at to its last argument. */
static int take_letters(int argc, char **argv, int *at, struct arguments *arguments)
{
    const char *argument = argv[*at];

    for (const char *letter = argument + 1; *letter; letter++) {
        const struct option *option = find_letter(*letter);
        if (!option)
            return usage(arguments->verb, "unknown option '%s'", argument);
        if (option->value) {
            const char *value = letter[1] ? letter + 1 : *at + 1 < argc ? argv[++*at] : NULL;
            return set_value(option, value, arguments);
        }
        *(bool *)((char *)arguments + option->offset) = true;
    }
    return EXIT_DONE;
}

const char *arguments_guess_verb(const struct verb *verbs, const char *name)
{
    size_t nearest = strlen(name) / 3 + 2; /* further away, it is another word */
    const char *guess = NULL;

    for (const struct verb *verb = verbs; verb->name; verb++) {
        if (!verb->summary)
            continue;
        /* "load" begins two verbs; the first one is the guess. */
        const char *second = strchr(verb->name, '-'); /* "policy" means "set-policy" */
        bool begins = *name && strncmp(verb->name, name, strlen(name)) == 0;
        size_t d = begins ? 1 : spelling_distance(name, verb->name);
        if (second && spelling_distance(name, second + 1) < d)
            d = spelling_distance(name, second + 1) + 1;
        if (d < nearest) {
            nearest = d;
            guess = verb->name;
        }
    }
    return guess;
}

/* The verb is the first operand, and the options before it may belong to it. So this function finds
 * the verb first, for the hints; the options are checked against it at the end. */
static const struct verb *guess_verb(int argc, char **argv, const struct verb *verbs)
{
    for (int i = 1; i < argc; i++) {
        bool is_word = argv[i][0] == '-' && argv[i][1] == '-';
        const struct option *option = is_word ? find_option(argv[i])
                                      : argv[i][0] == '-' && argv[i][1]
                                          ? find_letter(argv[i][strlen(argv[i]) - 1])
                                          : NULL;
        if (option && option->value && !strchr(argv[i], '='))
            i++;
        else if (argv[i][0] != '-')
            return arguments_find_verb(verbs, argv[i]);
    }
    return NULL;
}

/* Takes the option at argv[*at] and moves *at to its last argument. */
static int take_option(int argc, char **argv, int *at, struct arguments *arguments,
                       unsigned *verb_options)
{
    const struct verb *verb = arguments->verb;
    const char *argument = argv[*at], *value = strchr(argument, '=');
    const struct option *option = find_option(argument);

    if (!option)
        return usage(verb, "unknown option '%s'", argument);
    *verb_options |= option->verb_option;
    if (!option->value) {
        if (value)
            return usage(verb, "option '%s' takes no value", option->name);
        *(bool *)((char *)arguments + option->offset) = true;
        return EXIT_DONE;
    }
    if (value)
        value++;
    else if (*at + 1 < argc)
        value = argv[++*at];
    return set_value(option, value, arguments);
}

static int check_verb(const struct arguments *arguments, unsigned verb_options)
{
    const struct verb *verb = arguments->verb;

    for (const struct option *option = options; option < options + N_OPTIONS; option++)
        if (option->verb_option & verb_options & ~verb->options)
            return usage(verb, "%s takes no option '%s'", verb->name, option->name);
    if (arguments->if_absent && arguments->replace)
        return usage(verb, "--if-absent and --replace exclude each other");
    if (arguments->host && (verb->is_local || arguments->capacity))
        return usage(verb, "%s works only on this host; ssh runs it on another one", verb->name);
    if (arguments->host && arguments->hosts)
        return usage(verb, "--host and --hosts exclude each other");
    if (arguments->n_operands < verb->min_operands && !arguments->trace)
        return usage(verb, "%s needs %s", verb->name, verb->operands);
    if (verb->max_operands == 0 && arguments->n_list > 0)
        return usage(verb, "%s takes no argument '%s' before '--'", verb->name, arguments->list[0]);
    if (verb->takes_command && (!arguments->command || !*arguments->command))
        return usage(verb, "%s needs a command after '--'", verb->name);
    return EXIT_DONE;
}

int arguments_parse(int argc, char **argv, const struct verb *verbs, struct arguments *ret)
{
    struct arguments arguments = {.verb = guess_verb(argc, argv, verbs)};
    bool takes_command = arguments.verb && arguments.verb->takes_command;
    const char *verb_name = NULL, *surplus = NULL;
    unsigned verb_options = 0;
    bool only_operands = false;
    int r = EXIT_DONE;

    if (takes_command)
        arguments.list = argv + 1; /* words that were dealt with already */
    for (int i = 1; i < argc && r == EXIT_DONE && !arguments.command; i++) {
        if (takes_command && verb_name && strcmp(argv[i], "--") == 0)
            arguments.command = argv + i + 1;
        else if (!only_operands && strcmp(argv[i], "--") == 0)
            only_operands = true;
        else if (!only_operands && argv[i][0] == '-' && argv[i][1] != '-' && argv[i][1])
            r = take_letters(argc, argv, &i, &arguments);
        else if (!only_operands && argv[i][0] == '-')
            r = take_option(argc, argv, &i, &arguments, &verb_options);
        else if (!verb_name)
            verb_name = argv[i];
        else if (arguments.verb && arguments.n_operands < arguments.verb->max_operands)
            arguments.operands[arguments.n_operands++] = argv[i];
        else if (takes_command)
            arguments.list[arguments.n_list++] = argv[i];
        else if (!surplus)
            surplus = argv[i];
    }
    if (r != EXIT_DONE)
        return r;
    if (verb_name && !arguments.verb) {
        const char *guess = arguments_guess_verb(verbs, verb_name);
        return guess ? usage(NULL, "unknown verb '%s'; did you mean '%s'?", verb_name, guess)
                     : usage(NULL, "unknown verb '%s'", verb_name);
    }
    if (!arguments.help && !arguments.version) {
        if (!verb_name)
            return usage(NULL, "no verb given");
        if (surplus)
            return usage(arguments.verb, "%s takes no argument '%s'", verb_name, surplus);
        r = check_verb(&arguments, verb_options);
    }
    if (r == EXIT_DONE)
        *ret = arguments;
    return r;
}
