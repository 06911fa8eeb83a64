/* The composition root: builds every part from a configuration, wires the observers, runs the loop
 * and takes everything down in reverse order. */
#pragma once

#include "daemon/config.h"

/* Runs until SIGTERM or SIGINT. Takes over the configuration's strings. `argc` and `argv` are read
 * again on SIGHUP. The process's exit status; failures are logged. */
int daemon_run(struct config *config, int argc, char **argv);
