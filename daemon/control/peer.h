/* Which process is at the other end of a connection, and what its user may do. Read once, at
 * accept. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum tier {
    TIER_ANYONE, /* org.varlink.service */
    TIER_MEMBER, /* members of the socket's group: may look, plan and lease */
    TIER_ADMIN   /* root, the daemon's own user, the admin group: may also load, unload and set */
};

struct peer {
    uid_t uid;
    gid_t gid;
    pid_t pid;
    enum tier tier;
};

/* The groups that the tiers depend on; (gid_t)-1 for none. */
struct peer_rules {
    gid_t member_gid;
    gid_t admin_gid;
};

/* Reads SO_PEERCRED and SO_PEERGROUPS of a connected socket. Returns 0 or a negative errno. */
int peer_read(int fd, const struct peer_rules *rules, struct peer *ret);
