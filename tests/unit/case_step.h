/* How far a loop goes from one case to the next where thousands are alike: random ones, every bit,
 * every length, every name. One, unless EDGEMIND_CASE_STEP says more. Under valgrind it does: that
 * looks for memory errors, which another thousand times over the same path will not show. */
#pragma once

#include <stdlib.h>

static inline int case_step(void)
{
    const char *text = getenv("EDGEMIND_CASE_STEP");
    int step = text ? atoi(text) : 1;
    return step > 0 ? step : 1;
}
