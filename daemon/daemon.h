/* The composition root. It builds every part from a configuration, connects the observers, runs the
 * loop, and frees all parts in reverse order. */
#pragma once

#include "daemon/config.h"

/* The exit status if a new start would fail again: the configuration is wrong, or asks for more
 * memory than the machine can ever have. The units name it in RestartPreventExitStatus=. */
enum { EXIT_NEVER = 2 };

/* Runs until SIGTERM or SIGINT. Takes the configuration's strings. Reads `argc` and `argv` again on
 * SIGHUP. Returns the exit status: EXIT_SUCCESS; or, if the start failed, EXIT_NEVER or
 * EXIT_FAILURE after an entry in the log. */
int daemon_run(struct config *config, int argc, char **argv);
