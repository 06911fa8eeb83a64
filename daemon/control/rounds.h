/* Whose connection is served next: users take turns, and each user's connections among themselves.
 * Root's turn comes before any other's, but not twice while another user waits. Loop thread only.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

enum { ROUND_USEC = 2000 /* then the loop looks for what else has happened */ };

struct user;
struct rounds;

/* Embedded in what is served. The rounds own its members. */
struct participant {
    TAILQ_ENTRY(participant) entry;
    struct user *user;
    bool is_ready;
};

/* `serve` gives one participant its turn; no turn begins when the round is `round_usec` old. 0 or
 * -ENOMEM. */
int rounds_new(struct event_base *base, uint64_t round_usec,
               void (*serve)(struct participant *participant), struct rounds **ret);
struct rounds *rounds_free(struct rounds *rounds); /* when all participants have left */

/* A user's participant comes, or leaves; leaving is safe for one that is zero-initialised. 0 or
 * -ENOMEM. */
int rounds_join(struct rounds *rounds, struct participant *participant, uid_t uid);
void rounds_leave(struct rounds *rounds, struct participant *participant);

/* It wants a turn, or wants none any more. Both are safe to repeat. */
void rounds_add(struct rounds *rounds, struct participant *participant);
void rounds_remove(struct rounds *rounds, struct participant *participant);

/* Whether the turn that goes on should end. */
bool rounds_time_is_up(const struct rounds *rounds);
