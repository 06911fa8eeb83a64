/* The names of the eviction policies, in the order in which they are listed to people. What each
 * one does is said in daemon/scheduler/policy.h; the client only has to know the names. */
#pragma once

/* As a list in words: POLICY_NAMES(", ", " and "). */
#define POLICY_NAMES(separator, last_separator) \
    "flush-all" separator "lru" last_separator "next-use"
