/* A known file is not loaded here: its layers are loaded when the command reads them. Of an unknown
 * file, as many layers are loaded as there is room for; none is evicted. */
#include "client/emctl/view_models.h"

#include "client/emctl/error_message.h"
#include "client/emctl/verb.h"
#include "common/cleanup.h"
#include "common/error.h"

#include <errno.h>
#include <string.h>

/* Finds the file's model. EXIT_NOT_FOUND, without a message, if there is none. */
static int find(struct session *session, int fd)
{
    bool last = false;
    int r = session_send_fds(session, "FindModel", json_pack("{s:i}", "fileDescriptor", 0), true,
                             &fd, 1);

    session->expected = 1 << ERROR_NOT_FOUND;
    while (r == EXIT_DONE && !last) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        r = session_receive(session, &reply);
        last = !reply.continues;
    }
    session->expected = 0;
    return r;
}

static int load(struct session *session, const struct model_files *files)
{
    session->expected = 1 << ERROR_MUST_UNLOAD | 1 << ERROR_BUSY | 1 << ERROR_ALREADY_LOADED;
    int r = verb_load_files(session, files);
    session->expected = 0;
    /* Another emctl may have registered it meanwhile. */
    if (r == EXIT_ALREADY_LOADED && find(session, files->fds[files->n_fds - 1]) == EXIT_DONE)
        return EXIT_DONE;
    if (r == EXIT_ALREADY_LOADED)
        return error_message_print(r,
                                   "the daemon knows another file as the model %s. Give this one "
                                   "another name: --model NAME=%s.",
                                   files->name, session->subject.file);
    return r == EXIT_MUST_UNLOAD || r == EXIT_BUSY ? EXIT_DONE : r;
}

static int make_known(struct session *session, const char *model)
{
    _cleanup_(freep) char *name = strndup(model, strcspn(model, "="));
    _cleanup_(model_files_done) struct model_files files = {0};

    if (!name)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    int r = session_open_model(session, model + strlen(name) + 1, name, false, &files);
    if (r == EXIT_DONE)
        r = find(session, files.fds[files.n_fds - 1]); /* weights come last */
    if (r == EXIT_NOT_FOUND)
        r = load(session, &files);
    return r;
}

/* Checks whether this user may load. This calls SetPolicy without parameters, which changes nothing
 * but needs the same permission. */
static int may_load(struct session *session)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    int r = session_send(session, "SetPolicy", json_object(), false, NULL);

    return r == EXIT_DONE ? session_receive(session, &reply) : r;
}

static int any_is_known(struct session *session)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    int r = session_send(session, "List", json_object(), false, NULL);

    if (r == EXIT_DONE)
        r = session_receive(session, &reply);
    if (r == EXIT_DONE && json_integer_value(json_object_get(reply.parameters, "total")) == 0)
        r = error_message_print(EXIT_NOT_FOUND,
                                "the daemon knows no model. Name one with --model NAME=FILE, or "
                                "register the command's files with --auto.");
    return r;
}

int view_models_make_known(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    int r = EXIT_DONE;

    if (arguments->automatic)
        r = may_load(session);
    else if (arguments->n_models == 0)
        r = any_is_known(session);
    for (unsigned i = 0; i < arguments->n_models && r == EXIT_DONE; i++)
        r = make_known(session, arguments->models[i]);
    return r;
}
