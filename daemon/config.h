/* The daemon's options: one table (option.h) drives the file, the command line, the defaults, the
 * reload, --help and the check that the man page names every one. */
#pragma once

#include "daemon/config_values.h"

#include <stdio.h>

enum { CONFIG_WHY_MAX = 512 };

#define CONFIG_FILE_DEFAULT "/etc/edgemind/edgemindd.conf"

/* What main should do after parsing. */
enum config_action { CONFIG_RUN, CONFIG_CHECKED, CONFIG_DROPIN, CONFIG_HELP, CONFIG_VERSION };

/* Defaults, then the file (a missing default file is no error, a missing --config is one; with
 * --simulate the default file is not read), then the command line. 0, or a negative errno with
 * `ret_why` naming file and line, or the argument, and what is allowed there. argv is kept for
 * reload (borrowed). */
int config_load(int argc, char **argv, struct config *ret, enum config_action *ret_action,
                char ret_why[static CONFIG_WHY_MAX]);
void config_done(struct config *config);

/* Name of the next option (from *cursor = 0) in which two configurations differ, or NULL at the
 * end. `ret_reloadable` tells whether a running daemon can take it over. */
const char *config_next_difference(const struct config *a, const struct config *b, unsigned *cursor,
                                   bool *ret_reloadable);

/* Prints --help to `out`. */
void config_print_help(FILE *out);
