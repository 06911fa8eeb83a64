/* A thread for what an engine's thread needs done with the descriptors of the library's threads: it
 * wakes the server, makes the holes of new views, and wakes threads with userfaultfd. It waits for
 * nothing but the lock of views.h. */
#pragma once

/* Starts the thread, in the caller's table of descriptors. 0 or a negative errno. */
int helper_start(void);
