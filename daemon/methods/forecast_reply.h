/* Sends a forecast. Loop thread only. */
#pragma once

#include "daemon/methods/forecast.h"
#include "daemon/methods/manager.h"

/* In the call's last reply, or in one that others follow. */
void forecast_reply(const struct manager *manager, struct call *call,
                    const struct forecast *forecast, bool is_last);
