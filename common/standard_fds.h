/* Descriptors 0, 1 and 2 of a program whose caller had closed some of them. */
#pragma once

/* Opens /dev/null for each that is closed, or the next file that the program opens would take the
 * number: a log would be written into the arena, and a table to the daemon. To use such a
 * descriptor fails with EBADF, as before. Belongs before everything else in main. Returns 0 or a
 * negative errno. */
int standard_fds_fill(void);
