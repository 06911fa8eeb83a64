/* plan --trace: replays a route trace. Needs no daemon. */
#pragma once

#include "client/emctl/session.h"

/* Returns emctl's exit code. */
int plan_trace(struct session *session);
