/* Replies that a worker formats, because they have so many elements that the loop would need
 * milliseconds for them. */
#pragma once

#include "daemon/control/call.h"
#include "daemon/system/workers.h"

/* More elements make a reply long. */
enum { LONG_REPLY_ELEMENTS = 500 };

/* What a reply is made from. Any thread may use it. */
struct reply_source {
    const struct field *fields;
    /* Adds what takes long to collect. Returns 0 or -ENOMEM. */
    int (*complete)(struct reply_source *source);
    void (*free)(struct reply_source *source);
};

/* Sends the final reply, later if it is long. Takes the source. If there is no memory for the
 * reply, the connection ends, because the reply announces what the connection holds. */
void long_reply_send(struct workers *workers, struct call *call, struct reply_source *source,
                     bool is_long);
