/* Where the metrics are served: "ADDRESS:PORT" with a numeric address, as 127.0.0.1:9464 or
 * [::1]:9464, or the absolute path of a Unix socket. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct listen_address {
    int family;       /* AF_INET, AF_INET6 or AF_UNIX */
    bool is_loopback; /* not AF_UNIX */
};

/* Returns 0 or -EINVAL. */
int listen_address_parse(const char *text, struct listen_address *ret);

/* Listens. A path belongs to the group `gid`, unless that is (gid_t)-1, and has the mode 0660.
 * Returns a non-blocking descriptor or a negative errno. */
int listen_address_open(const char *text, gid_t gid);
