/* Owns the order of the turns. The list is searched from end to end, because it is short: TURNS_MAX
 * turns of members, and one for each connection of an administrator. */
#include "daemon/methods/turns.h"

#include "common/clock.h"

#include <errno.h>
#include <string.h>

enum { N_LAST = sizeof((struct turns){0}.last) / sizeof((struct turns){0}.last[0]) };

void turns_init(struct turns *turns)
{
    *turns = (struct turns){0};
    TAILQ_INIT(&turns->list);
}

/* The number of the user's last turn; 0: none lately. */
static uint64_t last_turn(const struct turns *turns, uid_t uid)
{
    for (size_t i = 0; i < N_LAST; i++)
        if (turns->last[i].began > 0 && turns->last[i].uid == uid)
            return turns->last[i].began;
    return 0;
}

static void note_turn(struct turns *turns, uid_t uid)
{
    size_t slot = 0;
    for (size_t i = 0; i < N_LAST; i++) {
        if (turns->last[i].began > 0 && turns->last[i].uid == uid) {
            slot = i;
            break;
        }
        if (turns->last[i].began < turns->last[slot].began)
            slot = i;
    }
    turns->last[slot].uid = uid;
    turns->last[slot].began = ++turns->n_began;
}

static bool may_begin(const struct turns *turns, const struct turn *turn)
{
    unsigned n_members = 0, n_admins = 0, n_stuck = 0;
    const struct turn *other;
    TAILQ_FOREACH (other, &turns->list, entry) {
        if (other->stuck_usec > 0)
            n_stuck += other->uid == turn->uid;
        if (!other->goes_on || other->stuck_usec > 0)
            continue;
        n_admins += other->is_admin;
        n_members += !other->is_admin;
        if (!turn->is_admin && !other->is_admin && other->uid == turn->uid)
            return false; /* a member has one turn at a time */
    }
    if (n_stuck >= TURNS_STUCK_MAX)
        return false;
    return turn->is_admin ? n_admins == 0 : n_members < TURNS_AT_ONCE;
}

static void begin_next(struct turns *turns)
{
    for (;;) {
        struct turn *turn, *next = NULL;
        TAILQ_FOREACH (turn, &turns->list, entry) {
            if (!turn->goes_on && may_begin(turns, turn) &&
                (!next || last_turn(turns, turn->uid) < last_turn(turns, next->uid)))
                next = turn;
        }
        if (!next)
            return;
        next->goes_on = true;
        note_turn(turns, next->uid);
        next->begin(next);
    }
}

unsigned turns_per_user(const struct peer *peer)
{
    return peer->tier == TIER_ADMIN ? TURNS_PER_ADMIN_MAX : TURNS_PER_USER_MAX;
}

int turn_await(struct turns *turns, struct turn *turn, const struct peer *peer,
               void (*begin)(struct turn *turn))
{
    bool is_admin = peer->tier == TIER_ADMIN;
    unsigned n_user = 0, n_members = 0, n_stuck = 0;
    uint64_t stuck_before_usec = clock_monotonic_usec() - TURNS_STUCK_USEC;
    const struct turn *other;
    TAILQ_FOREACH (other, &turns->list, entry) {
        n_stuck += other->stuck_usec > 0 && other->stuck_usec <= stuck_before_usec &&
                   other->uid == peer->uid;
        n_user += !other->is_over && other->uid == peer->uid;
        n_members += !other->is_over && !other->is_admin;
    }
    if (n_stuck >= TURNS_STUCK_MAX)
        return -EBUSY;
    if (n_user >= turns_per_user(peer) || (!is_admin && n_members >= TURNS_MAX))
        return -EDQUOT;
    *turn = (struct turn){.turns = turns, .uid = peer->uid, .is_admin = is_admin, .begin = begin};
    TAILQ_INSERT_TAIL(&turns->list, turn, entry);
    begin_next(turns);
    return 0;
}

void turn_over(struct turn *turn)
{
    if (turn->goes_on)
        turn->is_over = true;
    else
        turn_end(turn);
}

void turn_stuck(struct turn *turn)
{
    turn->stuck_usec = clock_monotonic_usec();
    begin_next(turn->turns);
}

void turn_end(struct turn *turn)
{
    struct turns *turns = turn->turns;
    if (!turns)
        return;
    TAILQ_REMOVE(&turns->list, turn, entry);
    turn->turns = NULL;
    begin_next(turns);
}
