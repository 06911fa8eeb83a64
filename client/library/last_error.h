/* What failed last on a connection of libedgemind: an errno, the daemon's refusal if it was one,
 * and a line for people. */
#pragma once

#include "client/library/varlink.h"

struct failure {
    int error;        /* negative; 0: nothing has failed */
    char *name;       /* wire name; NULL: no refusal */
    char *parameters; /* a JSON object; NULL likewise */
    char *text;       /* safe to show; NULL if memory was short for it */
};

/* What a call was about, for the text; NULL where it does not apply. */
struct failure_subject {
    const char *file, *model, *layer;
};

void failure_done(struct failure *failure); /* leaves a zeroed one */

/* Both take the place of the last failure and return its errno. */
int failure_set(struct failure *failure, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int failure_refused(struct failure *failure, const struct varlink_reply *reply,
                    const struct failure_subject *subject);

/* Never NULL. */
const char *failure_text(const struct failure *failure);
