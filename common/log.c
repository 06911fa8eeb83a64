/* The log. Owns the level and the sink. Invariant: an entry is one line. Control characters become
 * '?', so that a name that a peer has chosen cannot forge an entry or control a terminal. */
#include "common/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048 };
_Static_assert((int)LINE_MAX_BYTES + 64 <= PIPE_BUF, "an entry is written at once");

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
    [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

/* Uses one write(2), so that entries of several threads or processes do not mix. It never waits for
 * a reader: if a pipe or a terminal accepts nothing now, the entry is lost. A writable pipe accepts
 * PIPE_BUF bytes at once, and an entry is shorter. */
static void write_to_stderr(enum log_level level, const char *line, const struct log_field *fields,
                            size_t n_fields)
{
    char text[LINE_MAX_BYTES + 64];
    struct pollfd stream = {.fd = STDERR_FILENO, .events = POLLOUT};

    (void)level;
    (void)fields;
    (void)n_fields;
    int n = snprintf(text, sizeof text, "%.48s: %s\n", program_invocation_short_name, line);
    if (poll(&stream, 1, 0) == 0)
        return;
    /* A failure of the log itself cannot be reported. */
    if (write(STDERR_FILENO, text, (size_t)n) < 0)
        return;
}

static atomic_int max_level = LOG_LEVEL_INFO;
static log_sink current_sink = write_to_stderr;

int log_level_parse(const char *text, enum log_level *ret)
{
    for (enum log_level level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++)
        if (strcmp(text, level_names[level]) == 0) {
            *ret = level;
            return 0;
        }
    return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

void log_set_level(enum log_level level)
{
    max_level = (int)level;
}

bool log_takes(enum log_level level)
{
    return (int)level <= max_level;
}

void log_set_sink(log_sink sink)
{
    current_sink = sink ? sink : write_to_stderr;
}

static void clean(char *line)
{
    for (unsigned char *p = (unsigned char *)line; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
        else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) /* C1 control characters in UTF-8 */
            p[0] = p[1] = '?';
}

/* Cuts a line that is too long between characters, and ends it with "...". */
static void mark_cut(char line[static LINE_MAX_BYTES])
{
    size_t end = LINE_MAX_BYTES - sizeof "...";

    while (end > 0 && ((unsigned char)line[end] & 0xc0) == 0x80)
        end--;
    memcpy(line + end, "...", sizeof "...");
}

void log_write(enum log_level level, const struct log_field *fields, size_t n_fields,
               const char *format, ...)
{
    if (!log_takes(level))
        return;

    int saved_errno = errno;
    char line[LINE_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (n >= 0) {
        if ((size_t)n >= sizeof line)
            mark_cut(line);
        clean(line);
        current_sink(level, line, fields, n_fields);
    }
    errno = saved_errno;
}

int log_failure(const char *what, int error)
{
    log_error("%s: %s", what, strerror(-error));
    return error;
}
