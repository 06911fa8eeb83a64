/* Which unit a process that waits for room releases. */
#pragma once

#include "client/view/view.h"

/* False: no view holds any unit. Only the server's thread uses this. */
bool victim_choose(struct view **ret_view, uint32_t *ret_unit);
