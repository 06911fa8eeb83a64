/* org.varlink.service, the interface in which every Varlink server describes itself. */
#pragma once

#include "daemon/control/call.h"

struct server_info {
    const char *vendor, *product, *version, *url; /* static storage */
};

struct varlink_service {
    const struct server_info *info;
    const struct interface *interfaces; /* the other interfaces; ends with a NULL name */
};

/* Returns the interface that describes `service`, which is borrowed. */
struct interface varlink_service_interface(struct varlink_service *service);
