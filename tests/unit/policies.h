/* For tests that go through all policies. */
#pragma once

#include "daemon/scheduler/policy.h"

static inline size_t count_policies(void)
{
    size_t n = 0;
    while (policies[n])
        n++;
    return n;
}
