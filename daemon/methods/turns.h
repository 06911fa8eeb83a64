/* Whose turn it is, where users ask for more work than workers should do at once.
 *
 * Two turns go on at a time, each of another user, and one more that only administrators get: a
 * member's work keeps no administrator waiting. The user whose turn was last comes behind others.
 * Loop thread only. */
#pragma once

#include "daemon/control/peer.h"

#include <stdint.h>
#include <sys/queue.h>

enum {
    TURNS_AT_ONCE = 2, /* of members; and one of administrators */
    TURNS_PER_USER_MAX = 4,
    TURNS_MAX = 64, /* of all members */
    TURNS_PER_ADMIN_MAX = 16,
};

/* Held by value by what wants a turn. Zero-initialised. */
struct turn {
    TAILQ_ENTRY(turn) entry;
    struct turns *turns; /* NULL: it neither waits nor goes on */
    uid_t uid;
    bool is_admin, goes_on;
    void (*begin)(struct turn *turn);
};
TAILQ_HEAD(turn_list, turn);

struct turns {
    struct turn_list list; /* those that wait and those that go on, by the order of their calls */
    uint64_t n_began;
    struct {
        uid_t uid;
        uint64_t began; /* which turn of all it was, from 1; 0: none */
    } last[8];          /* the users who had the last turns */
};

void turns_init(struct turns *turns);

/* `begin` is told when the turn has come, maybe before this returns. 0; -EDQUOT when the user has
 * TURNS_PER_USER_MAX (TURNS_PER_ADMIN_MAX) already, or the members TURNS_MAX. */
int turn_await(struct turns *turns, struct turn *turn, const struct peer *peer,
               void (*begin)(struct turn *turn));
/* How many of its turns may wait and go on together. */
unsigned turns_per_user(const struct peer *peer);

/* It neither waits nor goes on any more: another may begin. Safe on one that does not. */
void turn_end(struct turn *turn);
