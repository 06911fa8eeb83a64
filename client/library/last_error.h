/* The last failure on a connection of libedgemind: an errno, the daemon's refusal if there was one,
 * and a line for people. */
#pragma once

#include "client/library/varlink.h"

struct last_error {
    int error;        /* negative; 0: nothing has failed */
    char *name;       /* wire name; NULL: no refusal */
    char *parameters; /* a JSON object; NULL: no refusal */
    char *text;       /* safe to show; NULL if there was no memory for it */
};

/* What a call was about, for the text; NULL where it does not apply. */
struct error_subject {
    const char *file, *model, *layer;
};

void last_error_done(struct last_error *last_error); /* zeroes the struct */

/* Both replace the last failure and return the errno of the new one. */
int last_error_set(struct last_error *last_error, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int last_error_set_reply(struct last_error *last_error, const struct varlink_reply *reply,
                         const struct error_subject *subject);

/* Never NULL. */
const char *last_error_text(const struct last_error *last_error);
