/* The daemon's options: one table (option.h) drives the file, the command line, the defaults, the
 * reload, --help and the check that the man page names every one. */
#pragma once

#include "common/log.h"
#include "daemon/arena/backing.h"
#include "daemon/scheduler/scheduler.h"
#include "daemon/weights/loader.h"

#include <stdbool.h>
#include <stdint.h>

struct config {
    /* Options, in the table's order. Strings are owned; NULL means not set. */
    uint64_t capacity_bytes; /* 0: not given */
    enum commit commit;
    enum huge_pages huge_pages;
    bool mlock;
    const struct policy *policy;
    enum on_full on_full;
    char *socket;
    char *socket_group;
    char *admin_group;
    char *model_dir;
    enum io_mode io;
    uint64_t loaders;
    uint64_t monitor_interval_usec;
    uint64_t overhead_limit_bytes;
    uint64_t lease_grace_usec; /* 0: leased layers wait for nobody */
    uint64_t max_connections;
    uint64_t max_connections_per_user;
    enum log_level log_level;
    /* Only on the command line. */
    char *file; /* --config */
    bool check_only, simulate;
};

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
