/* The thread that resolves faults. It leases, maps and releases units, and only this thread uses
 * the views' connection to the daemon. It sleeps until there is work. */
#pragma once

/* Starts the thread. May be called only once. 0 or a negative errno. */
int server_start(void);
