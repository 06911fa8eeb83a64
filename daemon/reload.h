/* Loads the configuration again while the daemon runs, on a worker thread: the file or the group
 * may be on a server that does not answer. Loop thread only. */
#pragma once

#include "daemon/config.h"
#include "daemon/system/workers.h"

struct reload {
    struct config *config; /* what holds now */
    int argc;
    char **argv;
    struct reload_hooks {
        /* Puts `config` into effect. Returns 0 or a negative errno. */
        int (*apply)(gid_t admin_gid, void *context);
        /* Nothing is left to do. If the last reload has failed, `config` is as before, and the log
         * says why. */
        void (*ended)(bool has_failed, void *context);
        void *context;
    } hooks;

    /* These belong to the reload. */
    struct workers *workers;
    struct job job;
    struct config next;
    gid_t admin_gid;
    char why[CONFIG_WHY_MAX];
    bool is_running, is_wanted_again, is_hopeless, is_stopped;
};

/* At the start: puts `config` into effect. Looks up the group at once. Returns 0 or a negative
 * errno after an entry in the log. `workers` is for the reloads. */
int reload_first(struct reload *reload, struct workers *workers);

/* Loads the configuration as at the start. The log names each option that has changed but takes
 * effect only at the next start. If a reload runs already, another one follows it; if that one does
 * not end, this one fails. */
void reload_start(struct reload *reload);

/* From now on nothing is applied and no hook runs. */
void reload_stop(struct reload *reload);
