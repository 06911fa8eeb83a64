/* The composition root: builds every part from a configuration, wires the observers, runs the loop
 * and takes everything down in reverse order. */
#pragma once

#include "daemon/config.h"

/* The exit status of a start that fails again however often it is tried: the configuration is
 * wrong, or asks for more memory than there can ever be. The units name it in
 * RestartPreventExitStatus=. */
enum { EXIT_NEVER = 2 };

/* Runs until SIGTERM or SIGINT. Takes over the configuration's strings. `argc` and `argv` are read
 * again on SIGHUP. 0, or a negative errno of a start that failed,
 * which is logged: -EINVAL and -E2BIG are EXIT_NEVER. */
int daemon_run(struct config *config, int argc, char **argv);
