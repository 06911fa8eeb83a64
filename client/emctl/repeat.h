/* --watch: shows what a verb shows again and again, in place on a terminal, one after the other
 * elsewhere. */
#pragma once

#include "client/emctl/session.h"

/* Calls `once`, which shows its replies in session->output, until it fails, or until nobody reads
 * standard output. Goes on when the daemon restarts. Returns the exit code. */
int repeat(struct session *session, int (*once)(struct session *session));
