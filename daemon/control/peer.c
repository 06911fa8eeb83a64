/* Asks the kernel which process is at the other end of a connection, and derives its tier. The
 * credentials are those that the peer had when it connected. No name is looked up. */
#include "daemon/control/peer.h"

#include "common/cleanup.h"

#include <errno.h>
#include <sys/socket.h>

/* Reads the peer's supplementary groups into a malloc'ed array. Returns 0 or a negative errno. */
static int read_groups(int fd, gid_t **ret, size_t *ret_n)
{
    _cleanup_(freep) gid_t *groups = NULL;
    socklen_t n_bytes = 32 * sizeof *groups;

    for (;;) {
        gid_t *larger = realloc(groups, n_bytes);
        if (!larger)
            return -ENOMEM;
        groups = larger;
        socklen_t n_allocated = n_bytes;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &n_bytes) == 0)
            break;
        /* With ERANGE the kernel sets n_bytes to the size that it needs, at most 64 Ki groups. Some
         * emulators do not. */
        if (errno != ERANGE || n_bytes <= n_allocated)
            return -errno;
    }
    *ret = TAKE_PTR(groups);
    *ret_n = n_bytes / sizeof **ret;
    return 0;
}

static bool belongs(gid_t gid, gid_t primary, const gid_t *groups, size_t n_groups)
{
    if (gid == (gid_t)-1)
        return false;
    if (gid == primary)
        return true;
    for (size_t i = 0; i < n_groups; i++)
        if (groups[i] == gid)
            return true;
    return false;
}

int peer_read(int fd, const struct peer_rules *rules, struct peer *ret)
{
    _cleanup_(freep) gid_t *groups = NULL;
    size_t n_groups = 0;
    struct ucred credentials;
    socklen_t n_bytes = sizeof credentials;
    enum tier tier = TIER_ANYONE;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &n_bytes) < 0)
        return -errno;
    int r = read_groups(fd, &groups, &n_groups);
    if (r < 0)
        return r;

    if (credentials.uid == 0 || credentials.uid == geteuid() ||
        belongs(rules->admin_gid, credentials.gid, groups, n_groups))
        tier = TIER_ADMIN;
    else if (belongs(rules->member_gid, credentials.gid, groups, n_groups))
        tier = TIER_MEMBER;
    *ret = (struct peer){
        .uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid, .tier = tier};
    return 0;
}
