/* Reports on standard error. Each report is one line and one call of write(2). */
#pragma once

#include <stdbool.h>

/* Whether `emctl exec --verbose` started this process. */
bool notice_is_verbose(void);

/* Writes "libedgemind-view: " and the text. */
void notice_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, with the path of the file behind `fd` before the text. */
void notice_about(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
