/* hold: leases layers for as long as a command runs. The leases end with the connection. The
 * command inherits neither the connection nor the arena's descriptor. When the daemon is restarted,
 * emctl leases the same layers again while the command goes on. */
#include "client/emctl/command.h"
#include "client/emctl/error_message.h"
#include "client/emctl/unit_list.h"
#include "client/emctl/verb.h"
#include "client/library/safe_text.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/units.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

enum {
    TRY_USEC = 10 * 1000 * 1000, /* how long to wait for another daemon */
    PAUSE_MSEC = 50
};

/* Appends the names of all of the model's layers. */
static int find_layers(struct session *session, json_t *names)
{
    bool last = false;
    int r = session_send(session, "List", json_pack("{s:s}", "model", session->subject.model), true,
                         NULL);

    while (r == EXIT_DONE && !last) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        json_t *layers, *layer;
        size_t i;
        r = session_receive_raw(session, &reply);
        if (r != EXIT_DONE)
            return r;
        layers = json_object_get(reply.parameters, "layers");
        if (!json_is_array(layers))
            return session_bad_reply();
        json_array_foreach (layers, i, layer)
            if (json_array_append(names, json_object_get(layer, "name")) < 0)
                return session_bad_reply();
        last = !reply.continues;
    }
    return r;
}

static int name_layers(struct session *session, json_t *names)
{
    const struct arguments *arguments = session->arguments;

    if (arguments->n_list == 0)
        return find_layers(session, names);
    for (unsigned i = 0; i < arguments->n_list; i++)
        if (json_array_append_new(names, json_string(arguments->list[i])) < 0)
            return error_message_print(EXIT_USAGE, "an argument is not valid UTF-8.");
    return EXIT_DONE;
}

/* Sends one call for each layer; no answer is read before all calls are sent. */
static int ask(struct session *session, json_t *names)
{
    const char *wait = session->arguments->wait, *list = session->arguments->unit_list;
    uint64_t wait_usec = 0;
    _cleanup_(json_decrefp) json_t *units = unit_list_json(list);
    json_t *name;
    size_t i;
    int r = EXIT_DONE;

    if (list && !units)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    if (wait)
        duration_parse(wait, &wait_usec); /* arguments.c has checked it */
    json_array_foreach (names, i, name)
        if (r == EXIT_DONE)
            r = session_send(session, "Acquire",
                             json_pack("{s:s, s:O, s:O*, s:o*}", "model", session->subject.model,
                                       "layer", name, "units", units, "waitUsec",
                                       wait ? json_integer((json_int_t)wait_usec) : NULL),
                             false, NULL);
    return r;
}

static int acquire(struct session *session, json_t *names)
{
    int r = ask(session, names);

    for (size_t i = 0; i < json_array_size(names) && r == EXIT_DONE; i++) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        r = session_receive_raw(session, &reply);
        if (r == EXIT_DONE && !json_is_string(json_object_get(reply.parameters, "lease")))
            r = session_bad_reply();
    }
    return r;
}

/* The leases while the command runs. */
struct hold {
    struct session *session; /* if it is not connected, there are no leases */
    json_t *names;
    size_t n_unanswered;     /* calls on a new connection */
    uint64_t try_until_usec; /* 0: the layers are held, or emctl has given up */
};

static void give_up(struct hold *hold, const char *why)
{
    error_message_print(EXIT_NO_DAEMON,
                        "%s: the layers of %s are no longer held. The command goes on.", why,
                        hold->session->subject.model);
    session_disconnect(hold->session);
    hold->try_until_usec = 0;
}

static void try_again(struct hold *hold)
{
    if (session_try_connect(hold->session) == 0) {
        hold->n_unanswered = json_array_size(hold->names);
        if (ask(hold->session, hold->names) != EXIT_DONE)
            give_up(hold, "the daemon was restarted");
    } else if (clock_monotonic_usec() >= hold->try_until_usec)
        give_up(hold, "the daemon hung up");
}

/* The socket is readable: there is an answer, or the connection has ended. */
static void receive(struct hold *hold)
{
    struct session *session = hold->session;
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

    if (hold->n_unanswered == 0 || varlink_receive(session->varlink, &reply) < 0) {
        session_disconnect(session);
        if (hold->try_until_usec == 0)
            hold->try_until_usec = clock_monotonic_usec() + TRY_USEC;
    } else if (reply.error) {
        if (safe_json(reply.parameters) == 0)
            error_message_for_reply(reply.error, reply.parameters, &session->subject);
        give_up(hold, "the daemon was restarted");
    } else if (--hold->n_unanswered == 0)
        hold->try_until_usec = 0;
}

__attribute__((noreturn)) static void execute(char **command, const sigset_t *before)
{
    sigprocmask(SIG_SETMASK, before, NULL);
    _exit(command_execute(command));
}

/* Passes signals on to the command, except those from the terminal, which the command also gets. */
static void pass_on(int signal_fd, pid_t pid)
{
    struct signalfd_siginfo signal;

    while (read(signal_fd, &signal, sizeof signal) == sizeof signal)
        if (signal.ssi_signo != SIGCHLD && signal.ssi_code != SI_KERNEL)
            kill(pid, (int)signal.ssi_signo);
}

/* Waits until the command has ended. Returns its exit status. */
static int wait_for(struct hold *hold, pid_t pid, int signal_fd)
{
    struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN}, {.events = POLLIN}};
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        const struct varlink *varlink = hold->session->varlink;
        bool tries = !varlink && hold->try_until_usec > 0;
        fds[1].fd = varlink ? varlink_fd(varlink) : -1;
        if (poll(fds, 2, tries ? PAUSE_MSEC : -1) < 0)
            continue;
        if (fds[0].revents)
            pass_on(signal_fd, pid);
        if (varlink && fds[1].revents)
            receive(hold);
        else if (tries)
            try_again(hold);
    }
    return WIFSIGNALED(status) ? EXIT_SIGNALED + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run(struct session *session, json_t *names)
{
    static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    sigset_t signals, before;
    int r;

    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
        sigaddset(&signals, passed_on[i]);
    signal(SIGCHLD, SIG_DFL); /* a process that ignores it gets no exit status */
    int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signal_fd < 0)
        return error_message_print(EXIT_OTHER, "cannot wait for signals: %s.", strerror(errno));
    sigprocmask(SIG_BLOCK, &signals, &before);
    pid_t pid = fork();
    if (pid == 0)
        execute(session->arguments->command, &before);
    if (pid < 0)
        r = error_message_print(EXIT_OTHER, "cannot start a process: %s.", strerror(errno));
    else
        r = wait_for(&(struct hold){.session = session, .names = names}, pid, signal_fd);
    close(signal_fd);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}

int verb_hold(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    json_t *names;

    if (arguments->json)
        return error_message_print(EXIT_USAGE,
                                   "hold prints nothing: its standard output is the command's. "
                                   "Try 'emctl hold --help'.");
    if (arguments->unit_list && arguments->n_list == 0)
        return error_message_print(EXIT_USAGE, "--unit needs LAYER. Try 'emctl hold --help'.");
    names = json_array();
    session_name_model(session, arguments->operands[0]);
    int r = session_wait_forever(session, -1); /* layers may have to be loaded */
    if (r == EXIT_DONE)
        r = name_layers(session, names);
    if (r == EXIT_DONE)
        r = acquire(session, names);
    if (r == EXIT_DONE)
        r = run(session, names);
    json_decref(names);
    return r;
}
