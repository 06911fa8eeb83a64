/* stats: shows the daemon's counters and the operating system's figures for the daemon, or the main
 * ones of the daemons of several hosts. */
#include "client/emctl/error_message.h"
#include "client/emctl/fleet.h"
#include "client/emctl/repeat.h"
#include "client/emctl/verb.h"
#include "client/library/safe_text.h"
#include "proto/interface.h"

#include <errno.h>
#include <string.h>

static int stats(struct session *session)
{
    return session_run(session, "Stats", json_object(), session->output.ops->stats);
}

/* Writes why a host cannot be shown. */
static int report_host(const struct fleet_host *host)
{
    return error_message_print(EXIT_NO_DAEMON, "%s: %s.", host->name, host->reason);
}

static int show_host(struct session *session, const struct fleet_host *host)
{
    if (host->reply && !session->arguments->json && safe_json(host->reply) < 0)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    json_t *row = host->reply ? json_pack("{s:s, s:O}", "host", host->name, "stats", host->reply)
                              : json_pack("{s:s, s:s}", "host", host->name, "error", host->reason);
    int r = row ? session_show(session, session->output.ops->host, row)
                : error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    json_decref(row);
    return r;
}

static int hosts(struct session *session)
{
    const char *path = session->arguments->hosts;
    struct fleet fleet;
    int r = fleet_read(path, &fleet), unreachable = EXIT_DONE;

    if (r == -EINVAL || r == -E2BIG)
        return error_message_print(EXIT_USAGE, "%s: %s.", path,
                                   r == -EINVAL ? "a host's name cannot begin with '-'"
                                                : "it has more than 1000 hosts");
    if (r < 0)
        return error_message_print(EXIT_OTHER, "cannot read %s: %s.", path, strerror(-r));
    fleet_call(&fleet, session->arguments->socket, MANAGER_INTERFACE ".Stats");
    r = EXIT_DONE;
    for (size_t i = 0; i < fleet.n_hosts && r == EXIT_DONE; i++)
        r = show_host(session, &fleet.hosts[i]);
    if (r == EXIT_DONE)
        r = session_show(session, session->output.ops->hosts_end, NULL);
    for (size_t i = 0; i < fleet.n_hosts && r == EXIT_DONE; i++)
        if (!fleet.hosts[i].reply)
            unreachable = report_host(&fleet.hosts[i]);
    fleet_done(&fleet);
    /* With --watch the hosts may be reachable the next time. */
    return r != EXIT_DONE || session->arguments->watch ? r : unreachable;
}

int verb_stats(struct session *session)
{
    int (*once)(struct session *) = session->arguments->hosts ? hosts : stats;

    return session->arguments->watch ? repeat(session, once) : once(session);
}
