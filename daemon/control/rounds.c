/* Owns the users, and the order in which their connections are served.
 *
 * Invariant: a user is in `waiting` as long as one of its participants is ready, and `next` is due
 * as long as any user waits who may have a turn. A round has at most as many turns as participants
 * were ready at its beginning, and begins no turn when its time is up. Leaves to the participants
 * what they do in a turn. */
#include "daemon/control/rounds.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/passed_fd.h"
#include "daemon/control/pending.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

/* What the connections of one user share. */
struct user {
    TAILQ_ENTRY(user) entry, waiting_entry;
    uid_t uid;
    unsigned n_participants, n_open, n_senders;  /* the senders are the first in `ready` */
    uint64_t held_bytes, n_held_fds;             /* of all of them */
    struct passed_fd_owner *closing;             /* its descriptors that are to be closed */
    uint64_t n_fds;                              /* both, as they were counted last */
    TAILQ_HEAD(participants, participant) ready; /* they wait for their turn */
};
TAILQ_HEAD(users, user);

struct rounds {
    void (*serve)(struct participant *participant);
    struct event *next; /* the next round */
    bool is_due;
    struct users all, waiting;
    unsigned n_ready; /* participants */
    bool was_root;    /* root had the last turn */
    uint64_t round_usec, end_usec;
    struct pending pending, fds;
    _Atomic uint64_t *unread_bytes; /* NULL: nobody wants to know them */
};

static bool admits(const struct rounds *rounds, const struct user *user)
{
    return pending_admits(&rounds->pending, user->uid == 0, user->held_bytes);
}

static bool may_have_turn(const struct rounds *rounds, const struct user *user)
{
    return user->n_senders > 0 || admits(rounds, user);
}

/* The user who is served next: root, unless root had the last turn and another user waits. NULL if
 * no user who waits may have a turn. */
static struct user *choose(const struct rounds *rounds)
{
    struct user *first = NULL, *user;

    TAILQ_FOREACH (user, &rounds->waiting, waiting_entry) {
        if (!may_have_turn(rounds, user))
            continue;
        if ((user->uid == 0) != rounds->was_root)
            return user;
        if (!first)
            first = user;
    }
    return first;
}

/* Takes the participant that is served next, and puts its user behind the others. */
static struct participant *take_next(struct rounds *rounds)
{
    struct user *user = choose(rounds);

    if (!user)
        return NULL;
    struct participant *participant = TAILQ_FIRST(&user->ready);
    rounds->was_root = user->uid == 0;
    rounds_remove(rounds, participant);
    if (!TAILQ_EMPTY(&user->ready)) {
        TAILQ_REMOVE(&rounds->waiting, user, waiting_entry);
        TAILQ_INSERT_TAIL(&rounds->waiting, user, waiting_entry);
    }
    return participant;
}

static void on_round(evutil_socket_t fd, short what, void *context)
{
    struct rounds *rounds = context;
    struct participant *participant;
    (void)fd;
    (void)what;

    rounds->end_usec = clock_monotonic_usec() + rounds->round_usec;
    for (unsigned n = rounds->n_ready; n > 0; n--) {
        participant = take_next(rounds);
        if (participant)
            rounds->serve(participant);
        if (!participant || rounds_time_is_up(rounds))
            break;
    }
    rounds->is_due = false;
    if (!choose(rounds))
        return;
    /* The next round does not begin at once, so that the loop first asks the system for other
     * events. */
    rounds->is_due = true;
    if (event_add(rounds->next, &(struct timeval){0}) < 0)
        event_active(rounds->next, EV_TIMEOUT, 1);
}

static uint64_t open_files_max(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 0 : limit.rlim_cur;
}

int rounds_new(struct event_base *base, uint64_t round_usec,
               void (*serve)(struct participant *participant), struct rounds **ret)
{
    struct rounds *rounds = calloc(1, sizeof *rounds);

    if (!rounds)
        return -ENOMEM;
    rounds->round_usec = round_usec;
    rounds->serve = serve;
    rounds->pending.limit_bytes = PENDING_BYTES_DEFAULT;
    rounds->fds.limit_bytes = open_files_max() / 2;
    TAILQ_INIT(&rounds->all);
    TAILQ_INIT(&rounds->waiting);
    rounds->next = event_new(base, -1, 0, on_round, rounds);
    if (!rounds->next) {
        free(rounds);
        return -ENOMEM;
    }
    *ret = rounds;
    return 0;
}

static void free_user(struct rounds *rounds, struct user *user)
{
    assert(TAILQ_EMPTY(&user->ready));
    pending_change(&rounds->fds, user->uid == 0, &user->n_fds, 0);
    TAILQ_REMOVE(&rounds->all, user, entry);
    passed_fd_owner_free(user->closing);
    free(user);
}

/* Counts the descriptors of all users again: some were closed meanwhile. A user without a
 * participant goes with the last of them. */
static void count_fds(struct rounds *rounds)
{
    for (struct user *user = TAILQ_FIRST(&rounds->all), *next; user; user = next) {
        next = TAILQ_NEXT(user, entry);
        uint64_t n_closing = passed_fd_owner_n_closing(user->closing);
        if (user->n_participants == 0 && n_closing == 0)
            free_user(rounds, user);
        else
            pending_change(&rounds->fds, user->uid == 0, &user->n_fds,
                           user->n_held_fds + n_closing);
    }
}

struct rounds *rounds_free(struct rounds *rounds)
{
    if (!rounds)
        return NULL;
    for (struct user *user; (user = TAILQ_FIRST(&rounds->all)) != NULL;) {
        assert(user->n_participants == 0);
        free_user(rounds, user);
    }
    event_free(rounds->next);
    free(rounds);
    return NULL;
}

static struct user *find_user(const struct rounds *rounds, uid_t uid)
{
    struct user *user;

    TAILQ_FOREACH (user, &rounds->all, entry)
        if (user->uid == uid)
            return user;
    return NULL;
}

int rounds_join(struct rounds *rounds, struct participant *participant, uid_t uid)
{
    struct user *user = find_user(rounds, uid);

    if (!user) {
        user = calloc(1, sizeof *user);
        if (!user)
            return -ENOMEM;
        user->closing = passed_fd_owner_new();
        if (!user->closing) {
            free(user);
            return -ENOMEM;
        }
        user->uid = uid;
        TAILQ_INIT(&user->ready);
        TAILQ_INSERT_TAIL(&rounds->all, user, entry);
    }
    user->n_participants++;
    user->n_open++;
    participant->user = user;
    return 0;
}

void rounds_end(struct participant *participant)
{
    if (participant->has_ended)
        return;
    participant->has_ended = true;
    participant->user->n_open--;
}

uint64_t rounds_n_open(const struct rounds *rounds, uid_t uid)
{
    const struct user *user = find_user(rounds, uid);

    return user ? user->n_open : 0;
}

void rounds_leave(struct rounds *rounds, struct participant *participant)
{
    struct user *user = participant->user;

    if (!user)
        return;
    rounds_end(participant);
    rounds_hold(rounds, participant, 0, 0);
    rounds_hold_fds(participant, 0);
    participant->user = NULL;
    user->n_participants--;
    count_fds(rounds);
}

/* Sees to it that there is a next round, if anybody is to be served in it. */
static void set_due(struct rounds *rounds)
{
    if (rounds->is_due || !choose(rounds))
        return;
    rounds->is_due = true;
    event_active(rounds->next, EV_TIMEOUT, 1);
}

static void add(struct rounds *rounds, struct participant *participant, bool is_sender)
{
    struct user *user = participant->user;

    if (TAILQ_EMPTY(&user->ready))
        TAILQ_INSERT_TAIL(&rounds->waiting, user, waiting_entry);
    if (is_sender)
        TAILQ_INSERT_HEAD(&user->ready, participant, entry);
    else
        TAILQ_INSERT_TAIL(&user->ready, participant, entry);
    participant->is_ready = true;
    participant->is_sender = is_sender;
    user->n_senders += is_sender;
    rounds->n_ready++;
    set_due(rounds);
}

void rounds_add(struct rounds *rounds, struct participant *participant)
{
    if (!participant->is_ready)
        add(rounds, participant, false);
}

void rounds_add_sender(struct rounds *rounds, struct participant *participant)
{
    if (participant->is_sender)
        return;
    rounds_remove(rounds, participant);
    add(rounds, participant, true);
}

void rounds_remove(struct rounds *rounds, struct participant *participant)
{
    struct user *user = participant->user;

    if (!participant->is_ready)
        return;
    TAILQ_REMOVE(&user->ready, participant, entry);
    user->n_senders -= participant->is_sender;
    participant->is_ready = participant->is_sender = false;
    rounds->n_ready--;
    if (TAILQ_EMPTY(&user->ready))
        TAILQ_REMOVE(&rounds->waiting, user, waiting_entry);
}

bool rounds_time_is_up(const struct rounds *rounds)
{
    return clock_monotonic_usec() >= rounds->end_usec;
}

void rounds_set_limit(struct rounds *rounds, uint64_t limit_bytes)
{
    rounds->pending.limit_bytes = limit_bytes;
    set_due(rounds);
}

void rounds_count_unread(struct rounds *rounds, _Atomic uint64_t *n_unread)
{
    rounds->unread_bytes = n_unread;
}

void rounds_hold(struct rounds *rounds, struct participant *participant, uint64_t n_bytes,
                 uint64_t n_unread)
{
    struct user *user = participant->user;
    bool is_less = n_bytes < participant->held_bytes;

    pending_change(&rounds->pending, user->uid == 0, &user->held_bytes,
                   user->held_bytes - participant->held_bytes + n_bytes);
    participant->held_bytes = n_bytes;
    if (rounds->unread_bytes)
        *rounds->unread_bytes += n_unread - participant->unread_bytes;
    participant->unread_bytes = n_unread;
    if (is_less)
        set_due(rounds);
}

bool rounds_admits(const struct rounds *rounds, const struct participant *participant)
{
    return admits(rounds, participant->user);
}

bool rounds_has_room(const struct rounds *rounds, const struct participant *participant,
                     uint64_t n_bytes)
{
    return pending_has_room(&rounds->pending, participant->user->uid == 0, n_bytes);
}

struct passed_fd_owner *rounds_fd_owner(const struct participant *participant)
{
    return participant->user->closing;
}

void rounds_hold_fds(struct participant *participant, uint64_t n_fds)
{
    participant->user->n_held_fds += n_fds - participant->n_fds;
    participant->n_fds = n_fds;
}

uint64_t rounds_fds_room(struct rounds *rounds, const struct participant *participant)
{
    count_fds(rounds);
    return pending_room(&rounds->fds, participant->user->uid == 0, participant->user->n_fds);
}
