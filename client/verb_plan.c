/* plan: what loading a model would do, in the running daemon or in a simulated one of any size. */
#include "client/explain.h"
#include "client/simulate.h"
#include "client/verb.h"
#include "common/error.h"

#include <errno.h>
#include <string.h>

static int ask(struct session *session, const struct model_files *files)
{
    const struct arguments *arguments = session->arguments;
    const char *model = files->n_fds > 0 ? NULL : arguments->operands[0];
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

    session->subject.policy = arguments->policy;
    int r = session_send(session, "Plan",
                         json_pack("{s:s*, s:s*, s:s*}", "model", model, "policy",
                                   arguments->policy, "onFull", arguments->on_full),
                         false, files);
    if (r == EXIT_DONE)
        r = session_receive(session, &reply);
    if (r == EXIT_DONE)
        r = session_show(session, session->output.ops->plan, reply.parameters);
    return r == EXIT_DONE ? explain_plan(reply.parameters) : r;
}

static int ask_simulation(struct session *session, const struct model_files *files)
{
    struct simulation simulation;
    int r = simulation_start(session->arguments->capacity, &simulation);

    if (r == -ENOENT)
        return session_fail(EXIT_OTHER, "cannot find edgemindd: it is neither beside emctl, nor in "
                                        "../sbin, nor in $PATH.");
    if (r < 0)
        return session_fail(EXIT_OTHER, "cannot start edgemindd: %s.", strerror(-r));
    r = session_adopt(session, simulation.fd);
    if (r == EXIT_DONE)
        r = ask(session, files);
    session_disconnect(session);
    simulation_end(&simulation);
    return r;
}

/* The operand is a file if there is one, or if it can be nothing else; or else a model's name. */
int verb_plan(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    const char *operand = arguments->operands[0];
    bool can_be_model = !arguments->capacity && !strchr(operand, '/');
    _cleanup_(model_files_done) struct model_files files = {0};

    int r = session_open_model(session, operand, can_be_model, &files);
    if (r != EXIT_DONE)
        return r;
    return arguments->capacity ? ask_simulation(session, &files) : ask(session, &files);
}
