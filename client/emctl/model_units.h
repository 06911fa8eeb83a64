/* The units of a model's layers, from the tensors that the daemon lists. */
#pragma once

#include "client/emctl/session.h"

/* Lists the layers of the session's model, each with its groups of units (common/residency):
 *     {"layer": name, "bytes": n, "groups": [{"kind": "expert", "name": name of its first tensor,
 *      "units": n, "tensors": n, "unitBytes": n, "bytes": n, "uncut": why or missing}, ...]}
 * Sets `ret` to the array, owned by the caller. Names are safe to show unless the output is JSON.
 * Returns emctl's exit code. */
int model_units_list(struct session *session, json_t **ret);
