/* load-model and load-layer. A load may take long. Ctrl-C closes the connection, which cancels the
 * load. */
#include "client/emctl/error_message.h"
#include "client/emctl/verb.h"
#include "client/library/safe_text.h"
#include "common/clock.h"
#include "common/error.h"

#include <signal.h>
#include <sys/signalfd.h>

/* A descriptor that receives SIGINT while a load runs, or -1 on failure. Then Ctrl-C kills emctl as
 * usual, and the kernel closes the connection. */
static int catch_interrupt(sigset_t *ret_before)
{
    sigset_t interrupt;

    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    int fd = signalfd(-1, &interrupt, SFD_CLOEXEC | SFD_NONBLOCK);
    sigprocmask(fd >= 0 ? SIG_BLOCK : SIG_UNBLOCK, &interrupt, ret_before);
    return fd;
}

/* Reads the pending signal first, so that it is not delivered again. */
static void release_interrupt(int fd, const sigset_t *before)
{
    struct signalfd_siginfo signal;

    if (fd >= 0) {
        while (read(fd, &signal, sizeof signal) == sizeof signal)
            ;
        close(fd);
    }
    sigprocmask(SIG_SETMASK, before, NULL);
}

static uint64_t number_of(const json_t *reply, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(reply, key));
    return number > 0 ? (uint64_t)number : 0;
}

/* Receives the replies of a load and draws the progress. The caller owns the last reply. */
static int follow(struct session *session, struct varlink_reply *ret)
{
    for (;;) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        int r = session_receive(session, &reply);
        if (r != EXIT_DONE || !reply.continues) {
            *ret = reply;
            reply = (struct varlink_reply){0};
            return r;
        }
        struct progress_state state = {
            .layers_done = number_of(reply.parameters, "layersDone"),
            .layers_total = number_of(reply.parameters, "layersTotal"),
            .bytes_done = number_of(reply.parameters, "bytesDone"),
            .bytes_total = number_of(reply.parameters, "bytesTotal"),
        };
        progress_draw(&session->progress, &state);
    }
}

/* Takes ownership of `parameters`; `show` may be NULL. Asks for intermediate replies only if a
 * progress bar is drawn. */
static int load(struct session *session, const char *method, json_t *parameters,
                const struct model_files *files, bool bar, output_function show)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    uint64_t started_usec = clock_monotonic_usec();
    sigset_t before;
    int interrupt_fd = catch_interrupt(&before);

    int r = session_wait_forever(session, interrupt_fd);
    if (r == EXIT_DONE) {
        if (bar)
            progress_start(&session->progress, stderr);
        r = session_send(session, method, TAKE_PTR(parameters), session->progress.stream, files);
        if (r == EXIT_DONE)
            r = follow(session, &reply);
    }
    json_decref(parameters);
    session->subject.elapsed_usec = clock_monotonic_usec() - started_usec;
    progress_end(&session->progress);
    if (r == EXIT_INTERRUPTED)
        error_message_print(r, "interrupted; the load is cancelled, and complete layers stay.");
    session_disconnect(session);
    release_interrupt(interrupt_fd, &before);
    if (r == EXIT_ALREADY_LOADED && session->arguments->if_absent) {
        bool is_safe = safe_json(reply.parameters) == 0;
        session->subject.model = json_string_value(json_object_get(reply.parameters, "model"));
        return is_safe && session->subject.model
                   ? session_show(session, session->output.ops->already_loaded, NULL)
                   : session_bad_reply();
    }
    return r == EXIT_DONE && show ? session_show(session, show, reply.parameters) : r;
}

int verb_load_model(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    _cleanup_(model_files_done) struct model_files files = {0};
    int r = session_open_model(session, arguments->operands[0], arguments->name, false, &files);

    if (r != EXIT_DONE)
        return r;
    if (arguments->if_absent)
        session->expected = 1 << ERROR_ALREADY_LOADED;
    json_t *parameters = json_pack("{s:s*, s:o*}", "onFull", arguments->on_full, "replace",
                                   arguments->replace ? json_true() : NULL);
    return load(session, "LoadModel", parameters, &files, !arguments->json && !arguments->quiet,
                session->output.ops->load_model);
}

int verb_load_files(struct session *session, const struct model_files *files)
{
    return load(session, "LoadModel",
                json_pack("{s:s, s:I}", "onFull", "ask", "unitBytes",
                          (json_int_t)model_files_unit_bytes(files)),
                files, !session->arguments->quiet, NULL);
}

int verb_load_layer(struct session *session)
{
    const struct arguments *arguments = session->arguments;

    session_name_model(session, arguments->operands[0]);
    session->subject.layer = arguments->operands[1];
    return load(session, "LoadLayer",
                json_pack("{s:s, s:s, s:s*}", "model", session->subject.model, "layer",
                          arguments->operands[1], "onFull", arguments->on_full),
                NULL, false, session->output.ops->load_layer);
}
