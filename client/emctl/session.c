/* Invariant: a function that returns another code than EXIT_DONE has written the reason to standard
 * error, once. The exception is EPIPE on standard output, which needs no message. */
#include "client/emctl/session.h"

#include "client/emctl/definition_file.h"
#include "client/emctl/error_message.h"
#include "client/library/model_folder.h"
#include "client/library/model_name.h"
#include "client/library/safe_text.h"
#include "client/library/socket_path.h"
#include "common/error.h"
#include "common/json_memory.h"
#include "proto/interface.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A healthy daemon answers every call except a load at once. */
enum { PATIENCE_USEC = 30 * 1000 * 1000, REMOTE_PATIENCE_USEC = 120 * 1000 * 1000 };

void session_init(struct session *session, const struct arguments *arguments)
{
    *session = (struct session){.arguments = arguments};
    output_init(&session->output,
                arguments->json    ? &output_json
                : arguments->quiet ? &output_quiet
                                   : &output_text,
                stdout);
}

/* Whether jansson has lacked memory since this was asked last. What it made then is not to be
 * trusted: a call may lack a parameter, a reply some of its text. */
static bool lacked_memory(struct session *session)
{
    uint64_t before = session->json_failures;
    session->json_failures = json_memory_failures();
    return session->json_failures != before;
}

static int no_memory(void)
{
    return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
}

static int flush(struct session *session)
{
    int r = output_flush(&session->output);

    if (r == 0)
        return EXIT_DONE;
    if (r == -EPIPE)
        return EXIT_OTHER;
    return error_message_print(EXIT_OTHER, "cannot write to standard output: %s.", strerror(-r));
}

int session_end(struct session *session, int status)
{
    session_disconnect(session);
    free(session->shown_path);
    free(session->model_name);
    output_done(&session->output);
    /* session_show has reported a failed flush already, but help does not use session_show. */
    if (status == EXIT_DONE)
        status = flush(session);
    if (status == EXIT_DONE && lacked_memory(session))
        status = no_memory();
    return status;
}

void session_disconnect(struct session *session)
{
    session->varlink = varlink_free(session->varlink);
    remote_end(&session->remote);
    free(session->socket_path);
    session->socket_path = NULL;
}

static int connect_to_host(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    _cleanup_(closep) int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int fd;

    int r = remote_start(&session->remote, arguments->host, arguments->socket, session->unattended,
                         session->unattended && null >= 0 ? null : STDERR_FILENO, &fd);
    if (r == 0)
        r = varlink_adopt(fd, &session->varlink);
    if (r == 0) /* a password may have to be typed */
        varlink_set_timeout(session->varlink, REMOTE_PATIENCE_USEC);
    return r;
}

/* The connection has failed. */
static int report_broken(struct session *session, int error)
{
    if (session->remote.pid == 0)
        return error_message_broken_connection(session->socket_path, error);
    session->varlink = varlink_free(session->varlink);
    return remote_report(&session->remote, error);
}

int session_try_connect(struct session *session)
{
    if (session->varlink)
        return 0;
    if (session->arguments->host)
        return connect_to_host(session);
    free(session->socket_path);
    session->socket_path = socket_path_find(session->arguments->socket);
    if (!session->socket_path)
        return -ENOMEM;
    return varlink_connect(session->socket_path, PATIENCE_USEC, &session->varlink);
}

int session_connect(struct session *session)
{
    int r = session_try_connect(session);

    if (r == -ENOMEM)
        return no_memory();
    if (r < 0 && session->arguments->host)
        return error_message_print(EXIT_OTHER, "cannot run ssh: %s.", strerror(-r));
    return r < 0 ? error_message_no_connection(session->socket_path, r) : EXIT_DONE;
}

int session_adopt(struct session *session, int fd)
{
    int r = varlink_adopt(fd, &session->varlink);

    if (r < 0)
        return error_message_print(EXIT_OTHER, "cannot use the socket: %s.", strerror(-r));
    varlink_set_timeout(session->varlink, PATIENCE_USEC);
    return EXIT_DONE;
}

int session_wait_forever(struct session *session, int interrupt_fd)
{
    int r = session_connect(session);

    if (r == EXIT_DONE) {
        varlink_set_timeout(session->varlink, VARLINK_FOREVER);
        varlink_set_interrupt(session->varlink, interrupt_fd);
    }
    return r;
}

int session_bad_reply(void)
{
    if (json_memory_failures() > 0)
        return no_memory();
    return error_message_print(EXIT_OTHER, "the daemon's reply is not what " MANAGER_INTERFACE
                                           " describes. Does the daemon have another version? "
                                           "'emctl version' shows both versions.");
}

/* Sets the model's name, unless that is NULL: then the default stays. */
static int name_model(struct session *session, struct model_files *files, const char *name)
{
    int r = name ? model_files_set_name(files, name) : 0;

    if (r == -EINVAL)
        return error_message_print(EXIT_USAGE,
                                   "a name is for weight files and indexes. %s is a definition, "
                                   "which has its own name for the model.",
                                   session->subject.file);
    if (r < 0)
        return error_message_print(EXIT_OTHER, "%s.", strerror(-r));
    return EXIT_DONE;
}

int session_open_model(struct session *session, const char *name, const char *called, bool optional,
                       struct model_files *ret)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(model_files_failure_done) struct model_files_failure failure = {0};
    _cleanup_(model_files_done) struct model_files files = {0};
    int fd = definition_file_open(name, &path);

    bool is_folder = fd == -EISDIR && !optional;

    if (is_folder) {
        _cleanup_(freep) char *folder = TAKE_PTR(path);
        fd = folder ? model_folder_open(folder, &path) : -ENOMEM;
        if (fd == -ENOENT || fd == -EMLINK)
            return error_message_no_folder(folder, path, fd);
        if (!path)
            path = TAKE_PTR(folder);
    }
    free(session->shown_path);
    session->subject.file = session->shown_path = path ? safe_text(path) : NULL;
    if (!session->shown_path) {
        closep(&fd);
        return no_memory();
    }
    /* A model and a directory may have the same name. */
    session->subject.is_folder = fd == -EISDIR;
    if ((fd == -ENOENT || fd == -EISDIR) && optional && !called)
        return EXIT_DONE;
    if (fd < 0)
        return error_message_no_definition(session->shown_path, fd);
    int r = model_files_open(path, fd, is_folder, &files, &failure);
    if (r < 0)
        return error_message_no_model_file(session->shown_path, &failure, r);
    r = name_model(session, &files, called);
    if (r == EXIT_DONE) {
        session->subject.model = files.name;
        session->subject.has_default_name = files.name && !called;
        *ret = files;
        files = (struct model_files){0};
    }
    return r;
}

const char *session_name_model(struct session *session, const char *operand)
{
    free(session->model_name);
    session->model_name = model_name_escape(operand);
    return session->subject.model = session->model_name ? session->model_name : operand;
}

int session_send_fds(struct session *session, const char *method, json_t *parameters, bool more,
                     const int *fds, size_t n_fds)
{
    char name[64];

    if (lacked_memory(session)) {
        json_decref(parameters);
        return no_memory();
    }
    if (!parameters)
        return error_message_print(EXIT_USAGE, "an argument is not valid UTF-8.");
    if (n_fds > 0 && session->arguments->host) {
        json_decref(parameters);
        return error_message_print(EXIT_USAGE,
                                   "a file of this host cannot be passed to another one. Copy it "
                                   "there, and run 'ssh %s emctl %s'.",
                                   session->arguments->host, session->arguments->verb->name);
    }
    int r = session_connect(session);
    if (r == EXIT_DONE) {
        snprintf(name, sizeof name, "%s%s", strchr(method, '.') ? "" : MANAGER_INTERFACE ".",
                 method);
        r = varlink_send(session->varlink, name, parameters, more ? VARLINK_MORE : 0, fds, n_fds);
        if (r == -EMSGSIZE)
            r = error_message_print(EXIT_OTHER,
                                    "the call would be longer than the 64 KiB that a daemon "
                                    "accepts. Shorter names would help.");
        else
            r = r < 0 ? report_broken(session, r) : EXIT_DONE;
    }
    json_decref(parameters);
    return r;
}

int session_send(struct session *session, const char *method, json_t *parameters, bool more,
                 const struct model_files *files)
{
    if (parameters && files && files->n_fds > 0 && model_files_describe(files, parameters) < 0) {
        json_decref(parameters);
        parameters = NULL;
    }
    return session_send_fds(session, method, parameters, more, files ? files->fds : NULL,
                            files ? files->n_fds : 0);
}

int session_receive_raw(struct session *session, struct varlink_reply *ret)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    int r = varlink_receive(session->varlink, &reply);

    if (r == -EINTR)
        return EXIT_INTERRUPTED;
    if (r < 0 || reply.error)
        progress_end(&session->progress); /* the message needs a line of its own */
    if (r < 0)
        return report_broken(session, r);
    if (reply.error) {
        json_t *error =
            json_pack("{s:s, s:O}", "error", reply.error, "parameters", reply.parameters);
        int shown = error ? session->output.ops->error(&session->output, &session->subject, error)
                          : -ENOMEM;
        json_decref(error);
        if (shown == -ENOMEM || lacked_memory(session))
            return no_memory();
        if (shown == 0)
            output_flush(&session->output); /* the error below decides the exit code */
    }
    enum error error = reply.error ? error_from_wire_name(reply.error) : ERROR_NONE;
    if (session->expected >> error & 1) {
        *ret = reply;
        reply = (struct varlink_reply){0};
        return (int)error_exit_code(error);
    }
    if (reply.error && safe_json(reply.parameters) < 0)
        return no_memory();
    if (reply.error)
        return error_message_for_reply(reply.error, reply.parameters, &session->subject);
    *ret = reply;
    reply = (struct varlink_reply){0};
    return EXIT_DONE;
}

int session_receive(struct session *session, struct varlink_reply *ret)
{
    int r = session_receive_raw(session, ret);

    if (r == EXIT_DONE && !session->arguments->json && safe_json(ret->parameters) < 0)
        return no_memory();
    return r;
}

int session_show(struct session *session, output_function show, json_t *parameters)
{
    int r = show(&session->output, &session->subject, parameters);

    if (r == -ENOMEM || lacked_memory(session))
        return no_memory();
    if (r == -EBADMSG)
        return session_bad_reply();
    if (r < 0)
        return error_message_print(EXIT_OTHER, "%s.", strerror(-r));
    return flush(session);
}

int session_run(struct session *session, const char *method, json_t *parameters,
                output_function show)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    int r = session_send(session, method, parameters, false, NULL);

    if (r == EXIT_DONE)
        r = session_receive(session, &reply);
    if (r == EXIT_DONE)
        r = session_show(session, show, reply.parameters);
    return r;
}
