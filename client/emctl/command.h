/* A command that emctl runs: where its program lies, and whether the dynamic loader preloads a
 * library into it. */
#pragma once

/* As shells have it. */
enum { EXIT_CANNOT_RUN = 126, EXIT_NO_COMMAND = 127, EXIT_SIGNALED = 128 };

/* What execvp would run for `name`: a malloc'ed path. 0; -EACCES if nobody may execute what was
 * found; -ENOENT; -ENOMEM. */
int command_find(const char *name, char **ret_path);

enum preloading {
    PRELOADING_WORKS, /* as far as can be seen: the file may not be readable, or be no ELF file */
    PRELOADING_STATIC,
    PRELOADING_PRIVILEGED, /* it gets rights of its file: the loader takes nothing from the caller
                            */
    PRELOADING_FOREIGN     /* of another architecture than emctl */
};

/* Looks at the program, and of a script at its interpreter. */
enum preloading command_preloading(const char *path);

/* Runs it in place of this process. Returns only if that fails: the exit status, after a message.
 */
int command_execute(char **command);
