/* The connections of emctl top: one for calls, one for events. Neither ever waits once the feed has
 * begun. When the daemon goes away, the feed connects again by itself. */
#pragma once

#include "client/emctl/session.h"
#include "client/emctl/top_data.h"

#include <poll.h>

struct top_feed {
    struct session *calls;
    struct session events;
    struct top_data *data;
    unsigned n_waiting;     /* calls without a reply */
    const char *waiting[4]; /* their methods, in the order of the calls */
    unsigned n_pages;       /* of the listing of models in this frame */
    uint64_t n_frames;
    uint64_t asked_usec;      /* when the oldest of the waiting calls was sent */
    uint64_t away_since_usec; /* since when there is no daemon; 0: there is one */
    uint64_t tried_usec;      /* when the last attempt to connect was made */
};

enum { TOP_FEED_FDS = 2 };

/* Fills `data` once, and waits for the replies. Returns an exit code; if it is not EXIT_DONE, the
 * reason is on standard error. */
int top_feed_fetch(struct session *session, struct top_data *data);

/* Connects, and fills `data` (borrowed). Waits for the daemon. Returns an exit code; if it is not
 * EXIT_DONE, the reason is on standard error. */
int top_feed_begin(struct top_feed *feed, struct session *session, struct top_data *data);
void top_feed_end(struct top_feed *feed);

/* Asks for what has changed, or tries to connect again. */
void top_feed_ask(struct top_feed *feed);

/* Sets what to poll; the descriptor is -1 where there is nothing. */
void top_feed_poll_fds(const struct top_feed *feed, struct pollfd fds[static TOP_FEED_FDS]);

/* Takes the replies and events that have come. */
void top_feed_take(struct top_feed *feed);

/* Since when the daemon has been away, or has not answered; 0: all is well. Monotonic. */
uint64_t top_feed_silent_since_usec(const struct top_feed *feed);
