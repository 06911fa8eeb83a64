/* top: a screen that shows what the daemon does. Owns the terminal and the keys. */
#include "client/emctl/error_message.h"
#include "client/emctl/top_draw.h"
#include "client/emctl/top_feed.h"
#include "client/emctl/verb.h"
#include "common/clock.h"

#include <curses.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <unistd.h>

enum { FRAME_USEC = 500 * 1000, ESCAPE = 27 };

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

static void catch_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

/* NULL after a message. */
static SCREEN *open_terminal(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    SCREEN *screen = term ? newterm(NULL, stdout, stdin) : NULL;

    if (screen && (!cursor_address || strcmp(term, "dumb") == 0)) {
        endwin();
        delscreen(screen);
        screen = NULL;
    }
    if (!screen) {
        error_message_print(EXIT_OTHER,
                            "the terminal %s cannot place text anywhere. 'emctl stats --watch' "
                            "needs no such terminal.",
                            term ? term : "(TERM is not set)");
        return NULL;
    }
    cbreak();
    noecho();
    nodelay(stdscr, TRUE);
    keypad(stdscr, TRUE);
    set_escdelay(50);
    curs_set(0);
    if (!(no_color && *no_color) && has_colors() && start_color() == OK) {
        static const short colors[] = {COLOR_CYAN, COLOR_GREEN,   COLOR_YELLOW,
                                       COLOR_BLUE, COLOR_MAGENTA, COLOR_RED};
        use_default_colors();
        for (int i = 0; i < TOP_MODEL_COLORS; i++)
            init_pair((short)(TOP_COLOR_MODEL + i), colors[i], -1);
        init_pair(TOP_COLOR_ALARM, COLOR_RED, -1);
        init_pair(TOP_COLOR_CHART, COLOR_GREEN, -1);
    }
    return screen;
}

static void type_filter(struct top_look *look, int key)
{
    size_t n = strlen(look->filter);

    if (key == '\n' || key == '\r' || key == KEY_ENTER) {
        look->is_typing = false;
    } else if (key == ESCAPE) {
        look->is_typing = false;
        look->filter[0] = '\0';
    } else if (key == KEY_BACKSPACE || key == 127 || key == '\b') {
        while (n > 0 && (look->filter[n - 1] & 0xc0) == 0x80) /* the rest of a character */
            look->filter[--n] = '\0';
        if (n > 0)
            look->filter[n - 1] = '\0';
    } else if (key >= ' ' && key <= UCHAR_MAX && n + 1 < sizeof look->filter) {
        look->filter[n] = (char)key;
        look->filter[n + 1] = '\0';
    }
}

static void scroll_models(struct top_look *look, const struct top_data *data, int rows)
{
    size_t n = rows < 0 ? (size_t)-rows : (size_t)rows, last = 0;

    for (size_t i = 0; i < data->n_models; i++)
        last += top_shows(look, data->models[i].name);
    last = last > 0 ? last - 1 : 0;
    if (rows < 0)
        look->first_model = look->first_model > n ? look->first_model - n : 0;
    else
        look->first_model = look->first_model + n < last ? look->first_model + n : last;
}

/* Returns false to quit. */
static bool obey(struct top_look *look, const struct top_data *data, int key)
{
    enum { PAGE = 10 };

    if (key == KEY_RESIZE)
        return true;
    if (look->is_typing) {
        type_filter(look, key);
        look->first_model = 0;
        return true;
    }
    if (look->shows_help) {
        look->shows_help = false;
        return true;
    }
    switch (key) {
    case 'q':
        return false;
    case 's':
        look->sort = (look->sort + 1) % TOP_SORTS;
        look->first_model = 0;
        break;
    case '/':
        look->is_typing = true;
        break;
    case 'p':
    case ' ':
        look->is_paused = !look->is_paused;
        break;
    case 'h':
    case '?':
        look->shows_help = true;
        break;
    case KEY_UP:
    case KEY_DOWN:
        scroll_models(look, data, key == KEY_UP ? -1 : 1);
        break;
    case KEY_PPAGE:
    case KEY_NPAGE:
        scroll_models(look, data, key == KEY_PPAGE ? -PAGE : PAGE);
        break;
    default:
        break;
    }
    return true;
}

/* Waits for keys, replies and events until `until_usec`. Returns false to quit. */
static bool wait_for(struct top_feed *feed, struct top_look *look, uint64_t until_usec)
{
    for (uint64_t now; (now = clock_monotonic_usec()) < until_usec;) {
        struct pollfd fds[1 + TOP_FEED_FDS] = {{.fd = STDIN_FILENO, .events = POLLIN}};
        const struct timespec left = {.tv_nsec = (long)(until_usec - now) * 1000};
        top_feed_poll_fds(feed, fds + 1);
        int n = ppoll(fds, 1 + TOP_FEED_FDS, &left, NULL);
        if (caught || (n < 0 && errno != EINTR) || fds[0].revents & (POLLHUP | POLLERR))
            return false;
        bool pressed = false;
        for (int key; (key = getch()) != ERR; pressed = true)
            if (!obey(look, feed->data, key))
                return false;
        if (pressed)
            top_draw(feed->data, look);
        if (n > 0 && (fds[1].revents || fds[2].revents))
            top_feed_take(feed);
    }
    return true;
}

static void run(struct top_feed *feed, struct top_look *look)
{
    uint64_t next_usec = clock_monotonic_usec();

    do {
        uint64_t now = clock_monotonic_usec(), silent = top_feed_silent_since_usec(feed);
        look->silent_usec = silent > 0 ? now - silent : 0;
        if (!look->is_paused)
            top_draw(feed->data, look);
        if (!look->is_paused)
            top_feed_ask(feed);
        next_usec = next_usec + FRAME_USEC > now ? next_usec + FRAME_USEC : now + FRAME_USEC;
    } while (wait_for(feed, look, next_usec));
}

int verb_top(struct session *session)
{
    struct top_data *data = calloc(1, sizeof *data);
    struct top_look look = {.host = session->arguments->host};
    struct top_feed feed;
    int r;

    if (!data)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        free(data);
        return error_message_print(EXIT_USAGE,
                                   "top needs a terminal. 'emctl stats --watch' needs none.");
    }
    r = top_feed_begin(&feed, session, data);
    if (r == EXIT_DONE) {
        catch_signals();
        SCREEN *screen = open_terminal();
        r = screen ? EXIT_DONE : EXIT_OTHER;
        if (screen) {
            run(&feed, &look);
            endwin();
            delscreen(screen);
        }
        if (caught == SIGINT)
            r = EXIT_INTERRUPTED;
    }
    top_feed_end(&feed);
    top_data_done(data);
    free(data);
    return r;
}
