/* The thread that resolves faults. It leases, maps and releases units, and only this thread uses
 * the views' connection to the daemon. It sleeps until there is work. */
#pragma once

/* Serves the views. Does not return. */
__attribute__((noreturn)) void server_run(void);
