/* Says in the log when layers of a model cannot be read, and when they can be read again. A client
 * that tries again and again makes one entry in LOAD_FAILURES_EVERY_USEC. */
#pragma once

#include "daemon/scheduler/scheduler.h"

enum { LOAD_FAILURES_EVERY_USEC = 60 * 1000 * 1000 };

/* A load of the layer has ended. `error`: 0 or a negative errno. */
void load_failures_note(struct layer *layer, int error, uint64_t now_usec);
