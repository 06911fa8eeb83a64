/* emctl's command line: global and verb options before or after the verb, and the operands. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct session;

/* Options of single verbs; every other option is global. */
enum verb_options {
    OPTION_ON_FULL = 1 << 0,
    OPTION_CAPACITY = 1 << 1,
    OPTION_POLICY = 1 << 2,
    OPTION_NAME = 1 << 3,
    OPTION_TENSORS = 1 << 4,
    OPTION_FORCE = 1 << 5,
    OPTION_RUN = 1 << 6,
    OPTION_WAIT = 1 << 7,
    OPTION_KNOWN = 1 << 8,
    OPTION_VIEW = 1 << 9,
    OPTION_WATCH = 1 << 10,
    OPTION_HOSTS = 1 << 11,
    OPTION_SVG = 1 << 12,
    OPTION_UNIT = 1 << 13
};

enum { OPERANDS_MAX = 3, MODELS_MAX = 16 };

/* The arguments that a verb takes, and the function that runs it. */
struct verb {
    const char *name;
    const char *operands;                /* for help: "MODEL LAYER" */
    unsigned min_operands, max_operands; /* at most OPERANDS_MAX */
    unsigned options;                    /* enum verb_options */
    int (*run)(struct session *session); /* returns emctl's exit code */
    const char *summary; /* a line; NULL: a verb for emctl itself, not in the help */
    bool takes_command;  /* any number of operands, and a command after "--" */
    bool is_local;       /* needs a daemon on this host */
};

/* All pointers are borrowed from argv; `list` reorders the words of argv. Options that were not
 * given are NULL. */
struct arguments {
    const struct verb *verb;
    const char *operands[OPERANDS_MAX];
    unsigned n_operands;
    /* Only of a verb that takes a command: its further operands; and the command, ended by NULL. */
    char **list;
    unsigned n_list;
    char **command;
    const char *socket;
    const char *host;               /* not empty */
    const char *svg;                /* a file's path */
    const char *hosts;              /* a file's path */
    const char *on_full;            /* "evict" or "ask" */
    const char *policy;             /* one that arguments_is_policy knows, or "all" */
    const char *capacity;           /* a size above 0 */
    const char *trace;              /* a path */
    const char *experts;            /* 1 to 256 */
    const char *passes;             /* 1 to 1000 */
    const char *disk_rate;          /* a size above 0 that json_int_t holds */
    const char *compute;            /* a duration that json_int_t holds */
    const char *wait;               /* a duration of at most a minute */
    const char *unit_list;          /* numbers, see unit_list.h */
    const char *view_grace;         /* a duration that json_int_t holds */
    const char *name;               /* fit for a model */
    const char *models[MODELS_MAX]; /* NAME=FILE: a name that is fit, and not empty */
    unsigned n_models;
    bool automatic, or_file, verbose;
    bool tensors, units, force, watch;
    bool if_absent, replace; /* at most one of them */
    bool json, quiet, help, version;
};

/* `verbs` ends with a NULL name. EXIT_DONE, or EXIT_USAGE after a line on standard error. With
 * `help` or `version` the operands were not checked. */
int arguments_parse(int argc, char **argv, const struct verb *verbs, struct arguments *ret);

const struct verb *arguments_find_verb(const struct verb *verbs, const char *name); /* or NULL */

bool arguments_is_policy(const char *name);

/* The verb that the user may have meant by an unknown `name`, or NULL. */
const char *arguments_guess_verb(const struct verb *verbs, const char *name);

/* Prints a line for each option in `options`, or for each global option if `options` is 0. */
void arguments_print_options(FILE *out, unsigned options);
