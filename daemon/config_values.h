/* The values of all options. The table of option.h fills them in. */
#pragma once

#include "common/log.h"
#include "daemon/arena/backing.h"
#include "daemon/scheduler/scheduler.h"
#include "daemon/weights/loader.h"

#include <stdbool.h>
#include <stdint.h>

enum on_pressure { ON_PRESSURE_IGNORE, ON_PRESSURE_TRIM };

static inline const char *on_pressure_name(enum on_pressure on_pressure)
{
    return on_pressure == ON_PRESSURE_TRIM ? "trim" : "ignore";
}

struct config {
    /* Options, in the table's order. Strings are owned; NULL means not set. */
    uint64_t capacity_bytes; /* 0: not given */
    enum commit commit;
    enum huge_pages huge_pages;
    bool mlock;
    const struct policy *policy;
    enum on_full on_full;
    enum on_pressure on_pressure;
    char *socket;
    char *socket_group;
    char *admin_group;
    char *model_dir;
    char *metrics_listen;
    enum io_mode io;
    uint64_t loaders;
    uint64_t monitor_interval_usec;
    uint64_t overhead_limit_bytes;
    uint64_t lease_grace_usec; /* 0: leased layers wait for no client */
    uint64_t max_connections;
    uint64_t max_connections_per_user;
    enum log_level log_level;
    /* Only on the command line. */
    char *file; /* --config */
    bool check_only, simulate;
    unsigned open_line; /* of the file: it gives an option, and no line end follows; 0: none */
};
