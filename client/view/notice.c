/* Standard error belongs to the engine, so nothing is buffered here, and errno is preserved. */
#include "client/view/notice.h"

#include "client/library/safe_text.h"
#include "common/cleanup.h"
#include "common/fd_path.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool notice_is_verbose(void)
{
    const char *value = getenv("EDGEMIND_VIEW_VERBOSE");
    return value && *value;
}

__attribute__((format(printf, 2, 0))) static void print(const char *path, const char *format,
                                                        va_list arguments)
{
    int error = errno;
    _cleanup_(freep) char *text = NULL, *line = NULL;

    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    int n = text ? asprintf(&line, "libedgemind-view: %s%s%s\n", path ? path : "", path ? " " : "",
                            text)
                 : -1;
    if (n < 0)
        line = NULL;
    else if (syscall(SYS_write, STDERR_FILENO, line, (size_t)n) < 0)
        n = -1; /* nobody reads it */
    errno = error;
}

void notice_print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print(NULL, format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 2, 0))) static void print_about(const char *path, const char *format,
                                                              va_list arguments)
{
    _cleanup_(freep) char *shown = path ? safe_text(path) : NULL;
    print(shown ? shown : "a file", format, arguments);
}

void notice_of(const char *path, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_about(path, format, arguments);
    va_end(arguments);
}

void notice_about(int fd, const char *format, ...)
{
    char path[PATH_MAX];
    va_list arguments;

    va_start(arguments, format);
    print_about(fd_path(fd, path) == 0 ? path : NULL, format, arguments);
    va_end(arguments);
}
