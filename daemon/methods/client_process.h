/* The process that a connection with leases or runs belongs to. */
#pragma once

#include "daemon/control/call.h"

#include <event2/event.h>

struct client_process;

/* Ends the call's connection CLIENT_PROCESS_LINGER_USEC after the end of the process that made it.
 * A process that forked and died would otherwise leave its leases to a child, under a dead
 * process's name. NULL when out of memory, or if the kernel cannot tell of this process: then only
 * the connection's end counts. */
struct client_process *client_process_watch(struct event_base *base, struct call *call);
struct client_process *client_process_free(struct client_process *process);

/* So that what it sent last is still served. */
enum { CLIENT_PROCESS_LINGER_USEC = 1000 * 1000 };
