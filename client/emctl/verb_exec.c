/* exec: replaces emctl by a command with libedgemind-view preloaded, so that signals, the exit
 * status and descriptors are those of the command.
 *
 * emctl checks beforehand for everything that the library needs, because a script sees emctl's exit
 * code. */
#include "client/emctl/command.h"
#include "client/emctl/error_message.h"
#include "client/emctl/verb.h"
#include "client/emctl/view_models.h"
#include "common/cleanup.h"
#include "common/error.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define LIBRARY "libedgemind-view.so"

/* The directory in which `make install` puts the library. */
#ifndef EDGEMIND_LIBDIR
#define EDGEMIND_LIBDIR "/usr/lib"
#endif
#define INSTALLED EDGEMIND_LIBDIR "/edgemind/" LIBRARY

/* Finds the library that was built with this emctl, or else the installed one. */
static int find_library(char path[static PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof LIBRARY);

    if (n > 0) {
        path[n] = '\0';
        strcpy(strrchr(path, '/') + 1, LIBRARY); /* NOLINT: there is room for it */
        if (access(path, R_OK) == 0)
            return EXIT_DONE;
    }
    strcpy(path, INSTALLED); /* NOLINT */
    if (access(path, R_OK) < 0)
        return error_message_print(EXIT_OTHER, "cannot read %s: %s.", path, strerror(errno));
    return EXIT_DONE;
}

static int set(const char *name, const char *value)
{
    int r = value ? setenv(name, value, 1) : unsetenv(name);
    return r < 0 ? error_message_print(EXIT_OTHER, "%s.", strerror(errno)) : EXIT_DONE;
}

static int preload(const char *library)
{
    const char *others = getenv("LD_PRELOAD");
    _cleanup_(freep) char *all = NULL;

    /* For the loader these are separators and variables, and it has no quotes. */
    if (strpbrk(library, " :$"))
        return error_message_print(EXIT_OTHER,
                                   "%s cannot be preloaded: its path has a space, a colon or a "
                                   "dollar sign in it.",
                                   library);
    if (asprintf(&all, "%s%s%s", library, others && *others ? ":" : "", others ? others : "") < 0) {
        all = NULL;
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    }
    return set("LD_PRELOAD", all);
}

/* Sets the variables that the library reads. The socket's path becomes absolute, because the
 * command may change its directory. */
static int set_environment(const struct session *session)
{
    const struct arguments *arguments = session->arguments;
    char *socket = realpath(session->socket_path, NULL);
    int r = set("EDGEMIND_SOCKET", socket ? socket : session->socket_path);

    free(socket);
    if (r == EXIT_DONE)
        r = set("EDGEMIND_VIEW_AUTO", arguments->automatic ? "1" : NULL);
    if (r == EXIT_DONE)
        r = set("EDGEMIND_VIEW_GRACE", arguments->view_grace);
    if (r == EXIT_DONE)
        r = set("EDGEMIND_VIEW_VERBOSE", arguments->verbose ? "1" : NULL);
    return r;
}

/* Checks that the library can be preloaded into the command. If it cannot, the command may still
 * start other programs that get the library. */
static int check_command(char **command)
{
    static const char *const reasons[] = {
        [PRELOADING_STATIC] = "is linked statically, so that no library can be preloaded into it",
        [PRELOADING_PRIVILEGED] =
            "runs with the rights of its file, so that the library cannot be preloaded into it",
        [PRELOADING_FOREIGN] =
            "is for another architecture than emctl, so that the library cannot be preloaded into "
            "it",
    };
    _cleanup_(freep) char *path = NULL;
    int r = command_find(command[0], &path);

    if (r < 0)
        return error_message_print(r == -ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_RUN,
                                   "cannot run %s: %s.", command[0], strerror(-r));
    const char *reason = reasons[command_preloading(path)];
    if (!reason)
        return EXIT_DONE;
    return error_message_print(EXIT_OTHER, "%s %s: it would map the plain files.", path, reason);
}

/* Prepares views, or reports why there can be none. */
static int prepare(struct session *session)
{
    char library[PATH_MAX];
    int r = find_library(library);

    if (r == EXIT_DONE)
        r = session_connect(session);
    if (r == EXIT_DONE)
        r = view_models_make_known(session);
    if (r == EXIT_DONE)
        r = session_connect(session); /* for its path */
    if (r == EXIT_DONE)
        r = set_environment(session);
    return r == EXIT_DONE ? preload(library) : r;
}

int verb_exec(struct session *session)
{
    const struct arguments *arguments = session->arguments;

    if (arguments->json)
        return error_message_print(EXIT_USAGE,
                                   "exec prints nothing: its standard output is the command's. "
                                   "Try 'emctl exec --help'.");
    int r = check_command(arguments->command);
    if (r == EXIT_NO_COMMAND || r == EXIT_CANNOT_RUN)
        return r;
    bool is_unfit = r != EXIT_DONE;
    if (!is_unfit || arguments->or_file)
        r = prepare(session);
    if (r != EXIT_DONE && !arguments->or_file)
        return r;
    if (r != EXIT_DONE && !is_unfit)
        fputs("emctl: the command runs on the plain files (--or-file).\n", stderr);
    session_disconnect(session);
    return command_execute(arguments->command);
}
