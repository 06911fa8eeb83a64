/* plan: predicts what loading a model and then running it would do. The answer comes from the
 * running daemon or from a simulated one of any size, for one policy or for each. */
#include "client/emctl/error_message.h"
#include "client/emctl/plan_experts.h"
#include "client/emctl/plan_trace.h"
#include "client/emctl/simulate.h"
#include "client/emctl/verb.h"
#include "common/error.h"
#include "common/units.h"

#include <errno.h>
#include <string.h>

static bool for_all_policies(const struct arguments *arguments)
{
    return arguments->policy && strcmp(arguments->policy, "all") == 0;
}

/* How many passes the run has, as text. NULL: no run is asked for. */
static const char *find_passes(const struct arguments *arguments)
{
    bool wants_run = for_all_policies(arguments) || arguments->disk_rate || arguments->compute;
    return !arguments->passes && wants_run ? "5" : arguments->passes;
}

/* NULL for NULL. Parsing cannot fail, because the command line was checked. */
static json_t *integer_of(const char *text, int (*parse)(const char *, uint64_t *))
{
    uint64_t value;
    return text && parse(text, &value) == 0 ? json_integer((json_int_t)value) : NULL;
}

static int send_plan(struct session *session, const struct model_files *files)
{
    const struct arguments *arguments = session->arguments;

    session->subject.policy = arguments->policy;
    return session_send(
        session, "Plan",
        json_pack("{s:s*, s:s*, s:s*, s:o*, s:o*, s:o*}", "model",
                  files->n_fds > 0 ? NULL : session_name_model(session, arguments->operands[0]),
                  "policy", arguments->policy, "onFull", arguments->on_full, "passes",
                  integer_of(find_passes(arguments), size_parse), "diskBytesPerSecond",
                  integer_of(arguments->disk_rate, size_parse), "computeUsec",
                  integer_of(arguments->compute, duration_parse)),
        for_all_policies(arguments), files);
}

/* Appends the replies, one a policy, to `replies`. */
static int ask_each(struct session *session, const struct model_files *files, json_t *replies)
{
    const struct output_ops *ops = session->output.ops;
    bool all = for_all_policies(session->arguments), last = false;
    int r = send_plan(session, files);

    while (r == EXIT_DONE && !last) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
        r = session_receive(session, &reply);
        if (r == EXIT_DONE)
            r = session_show(session, all ? ops->plan_policy : ops->plan, reply.parameters);
        if (r == EXIT_DONE && json_array_append(replies, reply.parameters) < 0)
            r = error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
        last = !reply.continues;
    }
    if (r == EXIT_DONE && all)
        r = session_show(session, ops->plan_comparison, replies);
    else if (r == EXIT_DONE && find_passes(session->arguments))
        r = session_show(session, ops->plan_passes, json_array_get(replies, 0));
    return r;
}

static int ask(struct session *session, const struct model_files *files)
{
    const struct arguments *arguments = session->arguments;
    json_t *replies = json_array();
    int r = ask_each(session, files, replies);

    /* A layer that is too large for one policy is too large for all. */
    if (r == EXIT_DONE)
        r = error_message_for_plan(json_array_get(replies, 0));
    if (r == EXIT_DONE && arguments->compute && !arguments->disk_rate)
        fputs("emctl: add --disk-rate to predict how long a pass takes.\n", stderr);
    json_decref(replies);
    return r;
}

static int ask_simulation(struct session *session, const struct model_files *files)
{
    struct simulation simulation;
    bool by_experts = session->arguments->experts;
    int r = simulation_start(by_experts ? PLAN_EXPERTS_SIMULATED : session->arguments->capacity,
                             &simulation);

    if (r == -ENOENT)
        return error_message_print(EXIT_OTHER,
                                   "cannot find edgemindd: it is neither beside emctl, nor in "
                                   "../sbin, nor in $PATH.");
    if (r < 0)
        return error_message_print(EXIT_OTHER, "cannot start edgemindd: %s.", strerror(-r));
    r = session_adopt(session, simulation.fd);
    if (r == EXIT_DONE)
        r = by_experts ? plan_experts(session, files) : ask(session, files);
    session_disconnect(session);
    simulation_end(&simulation);
    return r;
}

/* The operand is a file if that file exists, if the operand has a slash, or with --capacity;
 * otherwise it is a model's name. */
int verb_plan(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    const char *operand = arguments->operands[0];
    bool can_be_model = !arguments->capacity && operand && !strchr(operand, '/');
    _cleanup_(model_files_done) struct model_files files = {0};

    if (arguments->trace)
        return plan_trace(session);
    if (arguments->experts && (!arguments->capacity || arguments->policy || arguments->passes ||
                               arguments->compute || arguments->on_full))
        return error_message_print(EXIT_USAGE, "--experts needs --capacity, and takes only "
                                               "--disk-rate and --name besides. "
                                               "Try 'emctl plan --help'.");
    int r = session_open_model(session, operand, arguments->name, can_be_model, &files);
    if (r != EXIT_DONE)
        return r;
    return arguments->capacity ? ask_simulation(session, &files) : ask(session, &files);
}
