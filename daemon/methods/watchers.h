/* The clients that watch events (Watch calls). The events of one turn of the loop go to all of them
 * in one message, which is formatted once. */
#pragma once

#include "daemon/control/call.h"

struct event_base;
struct watchers;

/* NULL when out of memory. */
struct watchers *watchers_new(void);
struct watchers *watchers_free(struct watchers *watchers); /* only after all calls have ended */

/* From now on events are gathered until the end of a turn. Before, each is sent at once. Returns 0
 * or -ENOMEM. */
int watchers_gather(struct watchers *watchers, struct event_base *base);

/* Takes a Watch call, and keeps it until its peer goes away or is too slow. */
void watchers_add(struct watchers *watchers, struct call *call);

bool watchers_exist(const struct watchers *watchers);
/* Takes the event; NULL: there was no memory for it, and the watchers miss it. */
void watchers_tell(struct watchers *watchers, json_t *event);
