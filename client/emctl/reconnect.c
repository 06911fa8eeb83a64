#include "client/emctl/reconnect.h"

#include "client/emctl/error_message.h"

#include "common/cleanup.h"

#include <errno.h>
#include <time.h>

static bool may_come_back(int error)
{
    return error == -ENOENT || error == -ECONNREFUSED || error == -ECONNRESET ||
           error == -ETIMEDOUT || error == -EAGAIN || error == -EPIPE;
}

/* A daemon counts as back when it answers: ssh begins before it knows whether it gets there. */
static int try(struct session *session)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    int r = session_try_connect(session);

    if (r < 0)
        return r;
    r = varlink_call(session->varlink, "org.varlink.service.GetInfo", NULL, NULL, 0, &reply);
    if (r < 0)
        session_disconnect(session);
    return r;
}

int reconnect(struct session *session)
{
    const struct timespec pause = {.tv_sec = session->arguments->host ? 2 : 0,
                                   .tv_nsec = 250 * 1000 * 1000};
    int r;

    session_disconnect(session);
    session->unattended = true;
    fputs("emctl: waiting for the daemon to come back.\n", stderr);
    while ((r = try(session)) < 0 && may_come_back(r))
        nanosleep(&pause, NULL);
    if (r < 0)
        return session_connect(session); /* for its message */
    fputs("emctl: connected again.\n", stderr);
    return EXIT_DONE;
}
