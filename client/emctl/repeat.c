/* Owns the frames and the pauses between them. A frame is made in memory and written at once, so
 * that a terminal does not flicker. A pause is a multiple of the time that the frame took. So the
 * daemon spends a small share of its time on it, however much there is to show. */
#include "client/emctl/repeat.h"

#include "client/emctl/error_message.h"
#include "client/emctl/reconnect.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_USEC_MIN = 1000 * 1000, PAUSE_FACTOR = 20 };

/* Rows of the terminal; 0: unknown. */
static unsigned terminal_rows(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

/* Writes the frame over the last one: each line clears what it does not cover. What does not fit is
 * left out. */
static void draw(const char *frame, bool first)
{
    unsigned rows = terminal_rows();

    fputs(first ? "\033[H\033[2J" : "\033[H", stdout);
    for (unsigned row = 1; *frame && (rows == 0 || row < rows); row++) {
        size_t n = strcspn(frame, "\n");
        printf("%.*s\033[K\n", (int)n, frame);
        frame += n + (frame[n] != '\0');
    }
    fputs("\033[J", stdout);
}

/* Makes one frame. Its text is the caller's. */
static int make_frame(struct session *session, int (*once)(struct session *session), char **ret)
{
    struct output *output = &session->output;
    char clock[CLOCK_TEXT_MAX];
    size_t n;
    FILE *standard_output = output->stream;

    output->width = output_terminal_width(standard_output);
    output->stream = open_memstream(ret, &n);
    if (!output->stream) {
        output->stream = standard_output;
        return error_message_print(EXIT_OTHER, "%s.", strerror(errno));
    }
    if (!session->arguments->json)
        fprintf(output->stream, "%s\n", output_clock(clock_realtime_usec(), clock));
    int r = once(session);
    fclose(output->stream);
    output_done(output); /* the table of the frame */
    output->stream = standard_output;
    return r;
}

static int show_frame(struct session *session, const char *frame, bool first)
{
    const char *terminal = getenv("TERM");
    bool in_place = session->output.width > 0 && terminal && strcmp(terminal, "dumb") != 0;

    if (in_place && !session->arguments->json)
        draw(frame, first);
    else
        printf("%s%s", first || session->arguments->json ? "" : "\n", frame);
    int r = output_flush(&session->output);
    if (r < 0 && r != -EPIPE)
        return error_message_print(EXIT_OTHER, "cannot write to standard output: %s.",
                                   strerror(-r));
    return r < 0 ? EXIT_OTHER : EXIT_DONE;
}

static void rest(uint64_t took_usec)
{
    enum { USEC_PER_SEC = 1000 * 1000 };
    uint64_t usec = took_usec * PAUSE_FACTOR;
    if (usec < PAUSE_USEC_MIN)
        usec = PAUSE_USEC_MIN;
    nanosleep(&(struct timespec){.tv_sec = (time_t)(usec / USEC_PER_SEC),
                                 .tv_nsec = (long)(usec % USEC_PER_SEC * 1000)},
              NULL);
}

int repeat(struct session *session, int (*once)(struct session *session))
{
    bool first = true, clear = true;
    int r;

    for (;;) {
        _cleanup_(freep) char *frame = NULL;
        uint64_t began_usec = clock_monotonic_usec();
        r = make_frame(session, once, &frame);
        if (r == EXIT_NO_DAEMON && !first) {
            r = reconnect(session);
            clear = true;
            if (r == EXIT_DONE)
                continue;
        }
        if (r == EXIT_DONE)
            r = show_frame(session, frame, clear);
        if (r != EXIT_DONE)
            return r;
        first = clear = false;
        rest(clock_monotonic_usec() - began_usec);
    }
}
