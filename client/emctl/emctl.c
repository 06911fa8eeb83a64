/* emctl's main function, and the table of verbs that also makes the help. */
#include "client/emctl/error_message.h"
#include "client/emctl/verb.h"
#include "common/error.h"
#include "common/json_memory.h"
#include "common/standard_fds.h"

#include <locale.h>
#include <string.h>

static int verb_help(struct session *session);

static const struct verb verbs[] = {
    {"load-model", "FILE", 1, 1, OPTION_ON_FULL | OPTION_NAME | OPTION_KNOWN, verb_load_model,
     "load a model: definition, weights, index or folder"},
    {"load-layer", "MODEL LAYER", 2, 2, OPTION_ON_FULL, verb_load_layer, "load one layer"},
    {"unload-model", "MODEL", 1, 1, 0, verb_unload_model,
     "evict a model's layers and forget the model"},
    {"unload-layer", "MODEL LAYER", 2, 2, 0, verb_unload_layer, "evict one layer"},
    {"reset", "", 0, 0, 0, verb_reset, "evict every layer; the models stay known"},
    {"list", "[MODEL]", 0, 1, OPTION_TENSORS | OPTION_WATCH, verb_list,
     "show the models, or a model's layers"},
    {"cat", "MODEL LAYER [TENSOR]", 2, 3, OPTION_FORCE | OPTION_UNIT, verb_cat,
     "write the weights of a layer or of one tensor", .is_local = true},
    {"stats", "", 0, 0, OPTION_WATCH | OPTION_HOSTS, verb_stats,
     "show memory use, decisions and system figures"},
    {"plan", "FILE|MODEL", 1, 1,
     OPTION_CAPACITY | OPTION_POLICY | OPTION_RUN | OPTION_ON_FULL | OPTION_NAME, verb_plan,
     "show what loading and running would do"},
    {"hold", "MODEL [LAYER...] -- COMMAND [ARG...]", 1, 1, OPTION_WAIT | OPTION_UNIT, verb_hold,
     "hold layers (by default all) while a command runs", true, true},
    {"exec", "-- COMMAND [ARG...]", 0, 0, OPTION_VIEW, verb_exec,
     "run a command that maps weight files on the arena", true, true},
    {"views", "", 0, 0, 0, verb_views, "show which programs map which models on the arena"},
    {"why", "MODEL [LAYER]", 1, 2, 0, verb_why, "explain why layers are not in the arena"},
    {"top", "", 0, 0, 0, verb_top, "show on a screen what the daemon does"},
    {"map", "", 0, 0, OPTION_SVG, verb_map, "write the arena's map as a picture"},
    {"watch", "", 0, 0, 0, verb_watch, "show events as they happen"},
    {"set-policy", "[POLICY]", 0, 1, OPTION_ON_FULL, verb_set_policy,
     "show or set which layers a full arena evicts"},
    {"version", "", 0, 0, 0, verb_version, "show emctl's version and the daemon's"},
    {"bridge", "", 0, 0, 0, verb_bridge, NULL},
    {"help", "[VERB]", 0, 1, 0, verb_help, "show help"},
    {0},
};

static void print_help(void)
{
    enum { OPERANDS_COLUMNS = 20 };

    printf("Usage: emctl [OPTION...] VERB [ARGUMENT...]\n\n"
           "Drives edgemindd, which keeps neural-network weights inside a hard RAM budget.\n\n"
           "Verbs:\n");
    for (const struct verb *verb = verbs; verb->name; verb++)
        if (verb->summary && strlen(verb->operands) > OPERANDS_COLUMNS)
            printf("  %-12s %s\n  %-12s %*s  %s\n", verb->name, verb->operands, "",
                   OPERANDS_COLUMNS, "", verb->summary);
        else if (verb->summary)
            printf("  %-12s %-*s  %s\n", verb->name, OPERANDS_COLUMNS, verb->operands,
                   verb->summary);
    printf("\nOptions, before or after the verb:\n");
    arguments_print_options(stdout, 0);
    printf(
        "\nEnvironment:\n"
        "  EDGEMIND_SOCKET   the daemon's socket, unless --socket names it\n"
        "  EDGEMIND_PATH     directories in which load-model and plan look for files\n"
        "  EDGEMIND_SSH      the program for --host and --hosts, instead of ssh\n"
        "  NO_COLOR          if set and not empty, no colours\n"
        "\nExit codes:\n"
        "  0  done                                   6    busy: held by clients, or being loaded\n"
        "  1  another failure                        7    no such model, layer or tensor\n"
        "  2  usage                                  8    invalid definition or weights\n"
        "  3  no daemon                              9    permission denied\n"
        "  4  out of memory: larger than the arena   10   the model is known already\n"
        "  5  must unload, and --on-full=ask         130  a load or top was interrupted\n"
        "  126, 127  hold and exec: cannot run the command, no such command\n");
    printf("\n'emctl VERB --help' shows a verb's own options; emctl(1) explains all.\n");
}

static void print_verb_help(const struct verb *verb)
{
    printf("Usage: emctl %s%s%s%s\n\n%c%s.\n", verb->name, verb->options ? " [OPTION...]" : "",
           *verb->operands ? " " : "", verb->operands, verb->summary[0] - 'a' + 'A',
           verb->summary + 1);
    if (verb->options) {
        printf("\nOptions:\n");
        arguments_print_options(stdout, verb->options);
    }
    printf("\nGlobal options:\n");
    arguments_print_options(stdout, 0);
}

static int verb_help(struct session *session)
{
    const char *name = session->arguments->operands[0];
    const struct verb *verb = name ? arguments_find_verb(verbs, name) : NULL;
    const char *guess = name ? arguments_guess_verb(verbs, name) : NULL;

    if (name && !verb)
        return guess ? error_message_print(
                           EXIT_USAGE, "unknown verb '%s'; did you mean '%s'? Try 'emctl --help'.",
                           name, guess)
                     : error_message_print(EXIT_USAGE, "unknown verb '%s'. Try 'emctl --help'.",
                                           name);
    if (verb && verb->summary)
        print_verb_help(verb);
    else
        print_help();
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    struct session session;

    if (standard_fds_fill() < 0)
        return EXIT_OTHER;
    /* Characters and their widths follow the locale. Numbers do not, so that programs can read
     * them. */
    setlocale(LC_CTYPE, "");
    json_memory_install();
    int r = arguments_parse(argc, argv, verbs, &arguments);
    if (r != EXIT_DONE)
        return r;
    session_init(&session, &arguments);
    if (arguments.help && arguments.verb && arguments.verb->summary)
        print_verb_help(arguments.verb);
    else if (arguments.help)
        print_help();
    else if (arguments.version)
        printf("emctl " EDGEMIND_VERSION "\n");
    else
        r = arguments.verb->run(&session);
    return session_end(&session, r);
}
