/* Bounded parsing of hostile JSON with jansson.
 *
 * If jansson runs out of memory, the functions of this file always return an error, whether or not
 * its allocations are counted (json_memory.h).
 *
 * jansson needs up to 79 bytes of memory per byte of text. So a scan, which allocates nothing,
 * first checks the text's length, depth and number of values. Only then jansson parses it.
 * Duplicate keys and invalid UTF-8 are refused. Thread-safe. */
#pragma once

#include "common/json_scan.h"

#include <jansson.h>

/* Parses `n_bytes` bytes with one object or array. They need not end with a NUL, and must not have
 * one. 0 and a new reference; -E2BIG (a limit), -EBADMSG (malformed) or -ENOMEM, with `ret_problem`
 * set.
 */
int json_parse(const char *text, size_t n_bytes, const struct json_limits *limits, json_t **ret,
               struct json_problem *ret_problem);

/* json_dumps with `flags` (of json_dumps). The whole text, for free(3), or NULL: out of memory. */
char *json_format(const json_t *json, size_t flags);

/* json_unpack. 0, -EBADMSG (`json` is not as the format says) or -ENOMEM. */
int json_read(const json_t *json, const char *format, ...);
