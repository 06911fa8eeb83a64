/* What the library reports on standard error: one line each, with one call. */
#pragma once

#include <stdbool.h>

/* Whether `emctl exec --verbose` started this process. */
bool notice_is_verbose(void);

/* "libedgemind-view: " and the text. */
void notice_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same about the file that `fd` is open on: its path comes first. */
void notice_about(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
