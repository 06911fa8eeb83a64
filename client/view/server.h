/* The thread that resolves faults: it leases, maps and takes away, and is the only one that talks
 * with the daemon over the views' connection. It sleeps until there is something to do. */
#pragma once

/* 0 or a negative errno. Once. */
int server_start(void);
