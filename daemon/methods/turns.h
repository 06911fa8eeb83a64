/* Decides whose work begins next, because users may ask for more work than the workers should do at
 * once.
 *
 * At any time two turns of members can be in progress, of two different users, and one turn of an
 * administrator: so no administrator waits for a member's work. A user who had a turn lately comes
 * after other users. Loop thread only. */
#pragma once

#include "daemon/control/peer.h"

#include <stdint.h>
#include <sys/queue.h>

enum {
    TURNS_AT_ONCE = 2, /* of members; administrators have one more */
    TURNS_PER_USER_MAX = 4,
    TURNS_MAX = 64, /* of all members */
    TURNS_PER_ADMIN_MAX = 16,
    TURNS_STUCK_MAX = 2, /* of one user */
    TURNS_STUCK_USEC = 2 * 1000 * 1000,
};

/* The work that wants a turn holds this by value. Zero-initialise it. */
struct turn {
    TAILQ_ENTRY(turn) entry;
    struct turns *turns; /* NULL: it neither waits nor is in progress */
    uid_t uid;
    bool is_admin, goes_on, is_over;
    uint64_t stuck_usec; /* since when it is stuck (CLOCK_MONOTONIC); 0: it is not */
    void (*begin)(struct turn *turn);
};
TAILQ_HEAD(turn_list, turn);

struct turns {
    struct turn_list list; /* waiting and in progress, in the order of the calls */
    uint64_t n_began;
    struct {
        uid_t uid;
        uint64_t began; /* the turn's number among all turns, from 1; 0: none */
    } last[8];          /* the users who had the last turns */
};

void turns_init(struct turns *turns);

/* Calls `begin` when the turn has come, maybe before this returns. Returns 0; -EDQUOT if the user
 * already has TURNS_PER_USER_MAX (TURNS_PER_ADMIN_MAX) turns, or the members have TURNS_MAX; -EBUSY
 * if TURNS_STUCK_MAX of the user's turns have been stuck for TURNS_STUCK_USEC. */
int turn_await(struct turns *turns, struct turn *turn, const struct peer *peer,
               void (*begin)(struct turn *turn));
/* How many turns of this peer's user may wait or be in progress at the same time. */
unsigned turns_per_user(const struct peer *peer);

/* The work has ended, but for what it holds. A turn in progress no longer counts in the user's
 * limit; it ends with turn_end. A turn that waits ends. */
void turn_over(struct turn *turn);

/* The work is over, but a thread still waits for a file of it, maybe for ever. Other turns may
 * begin, but while TURNS_STUCK_MAX of a user's are stuck, no more of that user do. */
void turn_stuck(struct turn *turn);

/* Ends the turn, whether it waits or is in progress, so that another may begin. Safe on a turn that
 * has ended. */
void turn_end(struct turn *turn);
