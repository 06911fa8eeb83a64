/* org.varlink.service: what every Varlink server tells about itself. */
#pragma once

#include "daemon/control/call.h"

struct server_info {
    const char *vendor, *product, *version, *url; /* static storage */
};

struct varlink_service {
    const struct server_info *info;
    const struct interface *interfaces; /* the others that are served; ends with a NULL name */
};

/* The interface over `service`, which is borrowed. */
struct interface varlink_service_interface(struct varlink_service *service);
