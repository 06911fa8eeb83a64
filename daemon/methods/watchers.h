/* The clients that watch events (Watch calls). The events of one turn of the loop go to all of them
 * in one message, which is formatted once. */
#pragma once

#include "daemon/control/call.h"

struct event_base;
struct watchers;

/* Events are gathered until the end of a turn of the loop; without a loop (NULL) each is sent at
 * once. NULL when out of memory. */
struct watchers *watchers_new(struct event_base *base);
/* Only after all calls have ended, and before the loop. */
struct watchers *watchers_free(struct watchers *watchers);

/* Takes a Watch call, and keeps it until its peer goes away or is too slow. */
void watchers_add(struct watchers *watchers, struct call *call);

bool watchers_exist(const struct watchers *watchers);
/* Takes the event; NULL: there was no memory for it, and the watchers miss it. */
void watchers_tell(struct watchers *watchers, json_t *event);
