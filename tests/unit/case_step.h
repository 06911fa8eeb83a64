/* The step of a loop over thousands of similar cases: random ones, every bit, every length, every
 * name. It is one unless EDGEMIND_CASE_STEP is larger. Under valgrind it is, because memory errors
 * do not need a thousand runs of the same path. */
#pragma once

#include <stdlib.h>

static inline int case_step(void)
{
    const char *text = getenv("EDGEMIND_CASE_STEP");
    int step = text ? atoi(text) : 1;
    return step > 0 ? step : 1;
}
