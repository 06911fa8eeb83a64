/* Code that both outputs share: the check of the terminal, numbers, and flushing the stream. */
#include "client/emctl/output.h"

#include <errno.h>
#include <libsmartcols.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

unsigned output_terminal_width(FILE *stream)
{
    enum { USUAL_COLUMNS = 80 };
    struct winsize size;

    if (!isatty(fileno(stream)))
        return 0;
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    const char *columns = getenv("COLUMNS");
    long n = columns ? strtol(columns, NULL, 10) : 0;
    return n > 0 && n <= UINT16_MAX ? (unsigned)n : USUAL_COLUMNS;
}

void output_init(struct output *output, const struct output_ops *ops, FILE *stream)
{
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");

    *output = (struct output){.ops = ops, .stream = stream, .width = output_terminal_width(stream)};
    /* https://no-color.org: NO_COLOR counts if it is set and not empty. */
    output->color =
        output->width > 0 && !(no_color && *no_color) && terminal && strcmp(terminal, "dumb") != 0;
}

void output_done(struct output *output)
{
    scols_unref_table(output->table);
    output->table = NULL;
}

int output_flush(struct output *output)
{
    struct pollfd reader = {.fd = fileno(output->stream)};

    errno = 0;
    int r = fflush(output->stream);
    if (r == 0 && !ferror(output->stream))
        return 0;
    int error = r != 0 && errno > 0 ? errno : EIO;
    /* An earlier write may have failed, and its errno is lost: a reader that is gone still shows.
     */
    if (poll(&reader, 1, 0) > 0 && reader.revents & POLLERR)
        error = EPIPE;
    return -error;
}

const char *output_number(json_int_t value, char text[static NUMBER_TEXT_MAX])
{
    snprintf(text, NUMBER_TEXT_MAX, "%" JSON_INTEGER_FORMAT, value);
    return text;
}

const char *output_plural(json_int_t n)
{
    return n == 1 ? "" : "s";
}

const char *output_clock(uint64_t usec, char text[static CLOCK_TEXT_MAX])
{
    time_t at = (time_t)(usec / 1000000);
    struct tm local;

    if (!localtime_r(&at, &local) || strftime(text, CLOCK_TEXT_MAX, "%H:%M:%S", &local) == 0)
        *text = '\0';
    return text;
}

const char *output_size(json_int_t bytes, char text[static SIZE_TEXT_MAX])
{
    return size_format(bytes > 0 ? (uint64_t)bytes : 0, text);
}
