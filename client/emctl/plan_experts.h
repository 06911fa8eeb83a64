/* plan --experts: foresees a mixture of experts whose experts come and go one by one. */
#pragma once

#include "client/emctl/session.h"

/* Registers the model with the simulated daemon that the session is connected to, and shows the
 * plan. Returns emctl's exit code. */
int plan_experts(struct session *session, const struct model_files *files);

/* The simulated daemon's capacity. It only reads the model, which it refuses if a layer does not
 * fit. */
#define PLAN_EXPERTS_SIMULATED "1P"
