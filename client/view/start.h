/* Starts the library's threads, when the first view is made. */
#pragma once

/* Starts the server, the helper and the source of faults. May be called only once. 0 or a negative
 * errno. */
int start_threads(void);
