/* The functions that run the verbs. Each verb_GROUP.c has one group of them; emctl.c has the table
 * of verbs. Each function returns emctl's exit code. */
#pragma once

#include "client/emctl/session.h"

int verb_load_model(struct session *session);
int verb_load_layer(struct session *session);
int verb_unload_model(struct session *session);
int verb_unload_layer(struct session *session);
int verb_reset(struct session *session);
int verb_list(struct session *session);
int verb_cat(struct session *session);
int verb_stats(struct session *session);
int verb_map(struct session *session);
int verb_bridge(struct session *session);
int verb_views(struct session *session);
int verb_plan(struct session *session);
int verb_why(struct session *session);
int verb_watch(struct session *session);
int verb_top(struct session *session);
int verb_set_policy(struct session *session);
int verb_hold(struct session *session);
int verb_version(struct session *session);
int verb_exec(struct session *session);

/* What load-model does, for the verbs that need a model: loads as much of it as there is room for,
 * shows no more than a progress bar, and disconnects. */
int verb_load_files(struct session *session, const struct model_files *files);
