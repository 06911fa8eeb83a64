#include "daemon/arena/client_locks.h"

#include "common/arena_locks.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static struct flock range(short type, uint64_t first, uint64_t last)
{
    return (struct flock){.l_type = type,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)first,
                          .l_len = (off_t)(last - first + 1)};
}

int client_lock_take(int client_fd, uint64_t id)
{
    struct flock lock = range(F_RDLCK, id, id);
    return fcntl(client_fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

bool client_locks_are_held(int arena_fd, uint64_t first, uint64_t last)
{
    struct flock lock = range(F_WRLCK, first, last);
    return first <= last && fcntl(arena_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool client_locks_end(int arena_fd, uint64_t wait_usec)
{
    enum { STEP_USEC = 5 * 1000 };
    struct flock emptying = range(F_WRLCK, ARENA_LOCK_EMPTYING, ARENA_LOCK_EMPTYING);
    uint64_t until_usec = clock_monotonic_usec() + wait_usec;

    bool is_asked = false;
    while (client_locks_are_held(arena_fd, ARENA_LOCK_CLIENTS, INT64_MAX - 1)) {
        if (!is_asked && fcntl(arena_fd, F_OFD_SETLK, &emptying) < 0)
            return false;
        is_asked = true;
        if (clock_monotonic_usec() >= until_usec)
            return false;
        usleep(STEP_USEC);
    }
    return true;
}

void client_locks_empty(int arena_fd)
{
    enum { CLIENTS_USEC = 5 * 1000 * 1000 };

    if (arena_fd < 0)
        return;
    if (!client_locks_end(arena_fd, CLIENTS_USEC))
        log_warn("a client that does not answer still has the stored arena mapped, and gets SIGBUS "
                 "when it reads there");
    if (ftruncate(arena_fd, 0) < 0)
        log_error("cannot release the arena's memory: %s", strerror(errno));
}
