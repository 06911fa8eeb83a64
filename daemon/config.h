/* The daemon's options. One table (option.h) drives the file, the command line, the defaults, the
 * reload, --help and the check that the man page names every option. */
#pragma once

#include "daemon/config_values.h"

#include <stdio.h>

enum { CONFIG_WHY_MAX = 512 };

#define CONFIG_FILE_DEFAULT "/etc/edgemind/edgemindd.conf"

/* What main must do after parsing. */
enum config_action { CONFIG_RUN, CONFIG_CHECKED, CONFIG_DROPIN, CONFIG_HELP, CONFIG_VERSION };

/* Applies the defaults, then the file, then the command line. A missing default file is no error,
 * but a missing --config file is one. With --simulate the default file is not read. Returns 0; or a
 * negative errno, and `ret_why` then names the file and line, or the argument, and the allowed
 * values. argv is borrowed and kept for the reload. */
int config_load(int argc, char **argv, struct config *ret, enum config_action *ret_action,
                char ret_why[static CONFIG_WHY_MAX]);
void config_done(struct config *config);

/* Logs what is valid but may not be meant: a file that was cut while it was written, as by a loss
 * of power, can end in the middle of a number. */
void config_warn(const struct config *config);

/* Returns the name of the next option (from *cursor = 0) in which two configurations differ, or
 * NULL at the end. `ret_reloadable` says whether a running daemon can apply it. */
const char *config_next_difference(const struct config *a, const struct config *b, unsigned *cursor,
                                   bool *ret_reloadable);

/* Prints --help to `out`. */
void config_print_help(FILE *out);
