/* The option metrics-listen: listens, and answers with the daemon's figures. */
#pragma once

#include "daemon/config.h"
#include "daemon/methods/manager.h"

struct scrapes;

/* Without the option `ret` is NULL. A Unix socket gets the group `gid`. The manager is borrowed.
 * Returns 0 or a negative errno, and has then logged the reason. */
int scrapes_start(const struct config *config, const struct manager *manager, gid_t gid,
                  struct scrapes **ret);
struct scrapes *scrapes_free(struct scrapes *scrapes);
