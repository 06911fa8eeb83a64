/* Reports on standard error. Each report is one line and one call of write(2). */
#pragma once

#include <stdbool.h>

/* Whether `emctl exec --verbose` started this process. */
bool notice_is_verbose(void);

/* Writes "libedgemind-view: " and the text. */
void notice_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, with the path of a file before the text; NULL: unknown. */
void notice_of(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for the file behind `fd`. */
void notice_about(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
