/* Formats one line about the arena for `systemctl status`. */
#pragma once

#include "daemon/arena/backing.h"
#include "daemon/monitor/monitor.h"
#include "daemon/scheduler/scheduler.h"

enum { STATUS_LINE_MAX = 256 };

/* `backing` is NULL in a simulation. */
void status_line_format(const struct scheduler *scheduler, const struct backing *backing,
                        const struct sample *sample, char ret_line[static STATUS_LINE_MAX]);
