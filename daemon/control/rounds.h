/* Decides which connection is served next. Users take turns, and so do the connections of each
 * user. Root comes before other users, but not twice in a row while another user waits. Loop thread
 * only. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

enum { ROUND_USEC = 2000 /* then the loop looks for what else has happened */ };

struct passed_fd_owner;
struct user;
struct rounds;

/* Embedded in the struct that is served. Its members belong to the rounds. */
struct participant {
    TAILQ_ENTRY(participant) entry;
    struct user *user;
    bool is_ready, is_sender, has_ended;
    uint64_t held_bytes, unread_bytes, n_fds;
};

/* `serve` gives one participant its turn. No turn begins when the round is `round_usec` old.
 * Returns 0 or -ENOMEM. */
int rounds_new(struct event_base *base, uint64_t round_usec,
               void (*serve)(struct participant *participant), struct rounds **ret);
struct rounds *rounds_free(struct rounds *rounds); /* all participants must have left */

/* A participant of user `uid` joins, or leaves. rounds_leave is safe for a zero-initialised one.
 * rounds_join returns 0 or -ENOMEM. */
int rounds_join(struct rounds *rounds, struct participant *participant, uid_t uid);
void rounds_leave(struct rounds *rounds, struct participant *participant);
/* The participant takes no more part, and will leave. Safe to repeat. Then, how many participants
 * of user `uid` have not ended. */
void rounds_end(struct participant *participant);
uint64_t rounds_n_open(const struct rounds *rounds, uid_t uid);

/* The participant wants a turn, or no longer wants one. Both are safe to repeat. */
void rounds_add(struct rounds *rounds, struct participant *participant);
void rounds_remove(struct rounds *rounds, struct participant *participant);
/* As rounds_add, for a turn that makes the user hold less: its user gets it in any case, before the
 * other turns of that user. */
void rounds_add_sender(struct rounds *rounds, struct participant *participant);

/* Whether the turn in progress should end. */
bool rounds_time_is_up(const struct rounds *rounds);

/* How much all may hold (see pending.h); PENDING_BYTES_DEFAULT unless set. */
void rounds_set_limit(struct rounds *rounds, uint64_t limit_bytes);

/* So much memory waits for this participant now. Of that, `n_unread` bytes are of replies. */
void rounds_hold(struct rounds *rounds, struct participant *participant, uint64_t n_bytes,
                 uint64_t n_unread);
/* The n_unread of all are kept there from now on. Any thread may read them. */
void rounds_count_unread(struct rounds *rounds, _Atomic uint64_t *n_unread);

/* Whether its user may have turns; and whether a reply that long may wait for it. */
bool rounds_admits(const struct rounds *rounds, const struct participant *participant);
bool rounds_has_room(const struct rounds *rounds, const struct participant *participant,
                     uint64_t n_bytes);

/* Descriptors that this participant's user passed are to be closed for this owner, and count for
 * the user until they are, even if all its participants leave. It lives until the participant
 * leaves. */
struct passed_fd_owner *rounds_fd_owner(const struct participant *participant);

/* So many descriptors of this participant are here now; and how many more may come. All may have
 * half of what the process may open. */
void rounds_hold_fds(struct participant *participant, uint64_t n_fds);
uint64_t rounds_fds_room(struct rounds *rounds, const struct participant *participant);
