/* From a call to its method: a connection_host's `dispatch`. */
#pragma once

#include "daemon/control/connection.h"

/* Hands the call that was just read to its method, or answers it. `fds_lost`: descriptors came with
 * it that the daemon had no room for. */
void dispatch(struct call *call, const struct connection_host *host, bool fds_lost);
