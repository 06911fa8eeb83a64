/* A verb of emctl: what its command line may hold and what runs it. The table is in emctl.c, the
 * functions stand in one file a group. */
#pragma once

#include "client/emctl/session.h"

struct verb {
    const char *name;
    const char *operands;                /* for help: "MODEL LAYER" */
    unsigned min_operands, max_operands; /* at most OPERANDS_MAX */
    unsigned options;                    /* enum verb_options */
    int (*run)(struct session *session); /* returns emctl's exit code */
    const char *summary;                 /* a line */
    bool takes_command;                  /* any number of operands, and a command after "--" */
};

int verb_load_model(struct session *session);
int verb_load_layer(struct session *session);
int verb_unload_model(struct session *session);
int verb_unload_layer(struct session *session);
int verb_reset(struct session *session);
int verb_list(struct session *session);
int verb_cat(struct session *session);
int verb_stats(struct session *session);
int verb_plan(struct session *session);
int verb_watch(struct session *session);
int verb_set_policy(struct session *session);
int verb_hold(struct session *session);
int verb_version(struct session *session);
