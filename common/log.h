/* The log of a program. Each entry is one line with a priority and, if the log goes to the journal,
 * with fields.
 *
 * Level and sink are global: main sets both before threads start, and the level again on reload.
 * Any thread may call every function, and errno is preserved. Only the method handlers and main
 * log; lower layers return errors. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* syslog's numbers. */
enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7
};

/* A journal field: an upper-case name and its value. */
struct log_field {
    const char *name;
    const char *value;
};

/* Writes one finished line without newline. `fields` may be NULL. Must be thread-safe. */
typedef void (*log_sink)(enum log_level level, const char *line, const struct log_field *fields,
                         size_t n_fields);

/* "error", "warning", "notice", "info", "debug"; 0 or -EINVAL. */
int log_level_parse(const char *text, enum log_level *ret);
const char *log_level_name(enum log_level level);

/* Entries less important than `level` are dropped. Default: info. */
void log_set_level(enum log_level level);
bool log_takes(enum log_level level); /* does not drop it */

/* NULL restores the default sink: standard error, with the program's name before each line. */
void log_set_sink(log_sink sink);

void log_write(enum log_level level, const struct log_field *fields, size_t n_fields,
               const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Logs an error: what has failed, and why. Returns `error`, a negative errno. */
int log_failure(const char *what, int error);

#define log_error(...)  log_write(LOG_LEVEL_ERROR, NULL, 0, __VA_ARGS__)
#define log_warn(...)   log_write(LOG_LEVEL_WARNING, NULL, 0, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LEVEL_NOTICE, NULL, 0, __VA_ARGS__)
#define log_info(...)   log_write(LOG_LEVEL_INFO, NULL, 0, __VA_ARGS__)
#define log_debug(...)  log_write(LOG_LEVEL_DEBUG, NULL, 0, __VA_ARGS__)
