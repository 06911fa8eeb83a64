/* Watches the process that owns a connection with leases or runs. */
#pragma once

#include "daemon/control/call.h"

#include <event2/event.h>

struct client_process;

/* Ends the call's connection CLIENT_PROCESS_LINGER_USEC after the process that made it has ended.
 * Otherwise a process that forked and died would leave its leases to a child, and they would still
 * carry the dead process's pid. Returns NULL when out of memory, or if the kernel cannot report
 * this process's end: then the leases last until the connection ends. */
struct client_process *client_process_watch(struct event_base *base, struct call *call);
struct client_process *client_process_free(struct client_process *process);

/* The delay lets the daemon serve the last calls of the process. */
enum { CLIENT_PROCESS_LINGER_USEC = 1000 * 1000 };
