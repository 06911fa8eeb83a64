/* Finds the method of a call. It is a connection_host's `dispatch`. */
#pragma once

#include "daemon/control/connection.h"

/* Hands the call to its method, or answers it with an error. `fds_lost`: the daemon had no room for
 * descriptors that came with the call. */
void dispatch(struct call *call, const struct connection_host *host, bool fds_lost);
