/* For verbs that go on when the daemon restarts under them. */
#pragma once

#include "client/emctl/session.h"

/* Drops the connection, waits until there is a daemon again, and reports that on standard error.
 * EXIT_DONE, or another code when waiting would not help. */
int reconnect(struct session *session);
