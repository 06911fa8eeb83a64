/* A command that emctl runs: the path of its program, and whether the dynamic loader preloads a
 * library into it. */
#pragma once

/* The exit codes that shells use. */
enum { EXIT_CANNOT_RUN = 126, EXIT_NO_COMMAND = 127, EXIT_SIGNALED = 128 };

/* Finds the program that execvp would run for `name`; a malloc'ed path. 0; -EACCES if it was found
 * but may not be executed; -ENOENT; -ENOMEM. */
int command_find(const char *name, char **ret_path);

enum preloading {
    PRELOADING_WORKS, /* as far as can be seen: the file may not be readable, or be no ELF file */
    PRELOADING_STATIC,
    PRELOADING_PRIVILEGED, /* it gets rights of its file: the loader takes nothing from the caller
                            */
    PRELOADING_FOREIGN     /* of another architecture than emctl */
};

/* Checks the program, or the interpreter if it is a script. */
enum preloading command_preloading(const char *path);

/* Replaces this process by the command. Returns only if that fails: the exit status, after a
 * message. */
int command_execute(char **command);
