/* Loads the configuration again while the daemon runs. */
#pragma once

#include "daemon/config.h"

/* Loads it as at the start, lets `apply` put it into effect, and frees the old one. If either fails
 * (negative errno), `config` is as before, and the log says why. The log also names each option
 * that has changed but takes effect only at the next start. */
int config_reload(struct config *config, int argc, char **argv, int (*apply)(void *context),
                  void *context);
