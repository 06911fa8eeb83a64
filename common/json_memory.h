/* Memory for jansson, with a count of failed allocations.
 *
 * In some places jansson continues after a failed allocation: then a text lacks bytes, an object
 * lacks a key, or a text is reported as malformed. So code that parses or makes a text compares
 * this count before and after. Each thread has its own count; threads never wait for each other. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes jansson count its allocations, in the whole process. Must be called before the first use of
 * jansson; otherwise nothing is counted. A library must not call this, because it would affect the
 * whole process. In a library json.h compares the result with the text instead (json_matches.h). */
void json_memory_install(void);
bool json_memory_is_installed(void);

/* How many of jansson's allocations have failed on this thread so far. */
uint64_t json_memory_failures(void);

/* How many bytes jansson has allocated on this thread and not released. Only differences are
 * meaningful, because the caller releases jansson's texts past this count. */
uint64_t json_memory_held_bytes(void);

/* json_loadb for a text whose longest token has `token_bytes`. If jansson counts its allocations
 * here, none of them can do harm by failing: a failure to make room for the token that jansson
 * reads would otherwise be ignored, and jansson would then read and write beyond that room. */
json_t *json_memory_load(const char *text, size_t n_bytes, size_t token_bytes, size_t flags,
                         json_error_t *error);
