/* Sizes and durations as people write them, and back. Pure functions, safe in any thread. */
#pragma once

#include <stdint.h>

/* A size as systemd reads it: digits with an optional fraction, then B, K, M, G, T, P or E (powers
 * of 1024) or nothing for bytes: "50M", "1.5G". 0, -EINVAL (not a size), -ERANGE (over 2^64-1). */
int size_parse(const char *text, uint64_t *ret_bytes);

enum { SIZE_TEXT_MAX = 32 };

/* "50.0 MiB", "512 B": one decimal from KiB on. Returns `text`. */
char *size_format(uint64_t bytes, char text[static SIZE_TEXT_MAX]);

/* "1s", "500ms", "20us", "1min", "2h", also joined ("1min 30s"); a bare number is seconds.
 * 0, -EINVAL or -ERANGE. */
int duration_parse(const char *text, uint64_t *ret_usec);

enum { DURATION_TEXT_MAX = 32 };

/* "850 us", "36.4 ms", "1.25 s": three digits; from a minute on the two largest units, cut off:
 * "3 min 20 s", "2 d 3 h". Returns `text`. */
char *duration_format(uint64_t usec, char text[static DURATION_TEXT_MAX]);

/* The next multiple of `unit` (any number > 0). 0 or -EOVERFLOW. */
int round_up(uint64_t value, uint64_t unit, uint64_t *ret);
