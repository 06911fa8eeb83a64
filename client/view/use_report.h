/* Tells the daemon how often the units that are used by chance were used lately, because it does
 * not see the uses of those that a view holds. For the server's thread. */
#pragma once

#include "client/view/daemon_link.h"

/* Tells it of some units, if the last time is USE_REPORT_USEC ago. Errors as daemon_link_tell_uses;
 * what is not told now is told later. */
enum { USE_REPORT_USEC = 1000 * 1000 };
int use_report(struct daemon_link *link, struct view *view, uint64_t now_usec);
