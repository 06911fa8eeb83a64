/* The daemons of several hosts, asked at the same time through ssh. */
#pragma once

#include "client/emctl/remote.h"

#include <jansson.h>
#include <stddef.h>

enum { FLEET_HOSTS_MAX = 1000, FLEET_AT_ONCE = 16, FLEET_REASON_MAX = 256 };

struct fleet_host {
    char *name;
    json_t *reply;                 /* NULL: there is none */
    char reason[FLEET_REASON_MAX]; /* why; safe to show */
};

struct fleet {
    struct fleet_host *hosts;
    size_t n_hosts;
};

/* Reads a file with a host a line; the rest of a line after '#' is a comment. 0; -E2BIG if there
 * are more than FLEET_HOSTS_MAX; -EINVAL for a line that cannot be a host; or another negative
 * errno. */
int fleet_read(const char *path, struct fleet *ret);
void fleet_done(struct fleet *fleet);

/* Calls `method`, a full name without parameters, on each host, for at most 10 s each and
 * FLEET_AT_ONCE of them at a time. `socket` is the daemon's there; NULL: its default. Replaces the
 * results of an earlier call. */
void fleet_call(struct fleet *fleet, const char *socket, const char *method);
