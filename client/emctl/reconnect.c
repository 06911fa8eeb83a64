#include "client/emctl/reconnect.h"

#include "client/emctl/error_message.h"

#include <errno.h>
#include <time.h>

static bool may_come_back(int error)
{
    return error == -ENOENT || error == -ECONNREFUSED || error == -ECONNRESET ||
           error == -ETIMEDOUT || error == -EAGAIN || error == -EPIPE;
}

int reconnect(struct session *session)
{
    const struct timespec pause = {.tv_nsec = 250 * 1000 * 1000};
    int r;

    session_disconnect(session);
    fputs("emctl: waiting for the daemon to come back.\n", stderr);
    while ((r = session_try_connect(session)) < 0 && may_come_back(r))
        nanosleep(&pause, NULL);
    if (r < 0)
        return session_connect(session); /* for its message */
    fputs("emctl: connected again.\n", stderr);
    return EXIT_DONE;
}
