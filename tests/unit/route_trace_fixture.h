/* A route trace from text, and what reading it says. */
#pragma once

#include "client/emctl/route_trace.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static inline int read_route_trace(const char *text, struct route_trace *ret,
                                   struct route_failure *ret_failure)
{
    FILE *file = fmemopen((void *)text, strlen(text), "r");
    ck_assert_ptr_nonnull(file);
    int r = route_trace_read(file, ret, ret_failure);
    fclose(file);
    return r;
}
