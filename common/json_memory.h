/* Memory for jansson, with an account of what it did not get.
 *
 * jansson goes on after a failed allocation in places: a text loses bytes or is reported as
 * malformed, an object lacks a key. So whoever parses, or makes a text, compares this account
 * before and after. Its numbers are a thread's own; other threads never wait for it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Makes jansson allocate through this account, in the whole process; before its first use. Without
 * it nothing is ever counted. A library must not: the process is not its own; there json.h compares
 * what was made with what it was made of (json_matches.h). */
void json_memory_install(void);
bool json_memory_is_installed(void);

/* How many of jansson's allocations have failed on this thread so far. */
uint64_t json_memory_failures(void);
