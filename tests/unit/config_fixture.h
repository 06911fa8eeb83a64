/* Configurations that are loaded from a file of the test and from a command line. */
#pragma once

#include "daemon/config.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 8 };

static char directory[] = "/tmp/edgemind-test-config-XXXXXX";
static char path[sizeof directory + 16];

static inline void set_up(void)
{
    strcpy(directory + strlen(directory) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/conf", directory);
}

static inline void write_bytes(const void *bytes, size_t n_bytes)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, n_bytes, file), n_bytes);
    ck_assert_int_eq(fclose(file), 0);
}

static inline void write_file(const char *text)
{
    write_bytes(text, strlen(text));
}

/* Loads with a NULL-terminated list of arguments. */
static inline int load(const char *const *arguments, struct config *ret,
                       enum config_action *ret_action, char *why)
{
    char *argv[ARGUMENTS_MAX + 2] = {strdup("edgemindd")};
    int argc = 1;

    for (; arguments[argc - 1]; argc++) {
        ck_assert_int_le(argc, ARGUMENTS_MAX);
        argv[argc] = strdup(arguments[argc - 1]);
    }
    why[0] = '\0';
    int r = config_load(argc, argv, ret, ret_action, why);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return r;
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static inline struct config good_(const char *const *arguments)
{
    struct config loaded;
    enum config_action action;
    char why[CONFIG_WHY_MAX];
    int r = load(arguments, &loaded, &action, why);

    ck_assert_msg(r == 0, "refused: %s", why);
    ck_assert_int_eq(action, CONFIG_RUN);
    return loaded;
}

/* Expects a refusal whose text has `part` in it; nothing is written to the output. */
static inline void bad_(const char *const *arguments, int error, const char *part)
{
    struct config config;
    enum config_action action = CONFIG_VERSION;
    char why[CONFIG_WHY_MAX];

    memset(&config, 0x5a, sizeof config);
    int r = load(arguments, &config, &action, why);
    ck_assert_msg(r == error, "%d instead of %d: %s", r, error, why);
    ck_assert_msg(strstr(why, part) != NULL, "'%s' is not in '%s'", part, why);
    ck_assert_int_eq(action, CONFIG_VERSION);
    for (size_t i = 0; i < sizeof config; i++)
        ck_assert_int_eq(((unsigned char *)&config)[i], 0x5a);
}

static struct config config;

static inline void take(struct config loaded)
{
    config_done(&config);
    config = loaded;
}

/* The configuration of the test, which the fixture frees, and one that the test frees. */
#define GOOD(...)             take(good_(LIST(__VA_ARGS__)))
#define LOADED(...)           good_(LIST(__VA_ARGS__))
#define BAD(error, part, ...) bad_(LIST(__VA_ARGS__), error, part)

/* The action that the command line requests instead of a run. */
static inline void expect_action(const char *const *arguments, enum config_action expected)
{
    struct config loaded;
    enum config_action action;
    char why[CONFIG_WHY_MAX];

    ck_assert_int_eq(load(arguments, &loaded, &action, why), 0);
    ck_assert_int_eq(action, expected);
    take(loaded);
}

static inline char *with_file(void)
{
    static char argument[sizeof path + 16];

    snprintf(argument, sizeof argument, "--config=%s", path);
    return argument;
}

static inline void tear_down(void)
{
    take((struct config){0});
    unlink(path);
    ck_assert_int_eq(rmdir(directory), 0);
}
