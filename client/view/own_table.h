/* A table of descriptors for the library's threads alone. The engine cannot close or replace the
 * descriptors in it, whatever it calls, and does not inherit them to its children. */
#pragma once

/* Gives the calling thread a new table that has only standard error. Threads that it creates share
 * the table. 0 or a negative errno. */
int own_table_make(void);
