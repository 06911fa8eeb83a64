/* The names of the eviction policies, in the order of lists for people. daemon/scheduler/policy.h
 * says what each policy does; the client needs only the names. */
#pragma once

/* As a list in words: POLICY_NAMES(", ", " and "). */
#define POLICY_NAMES(separator, last_separator) \
    "flush-all" separator "lru" separator "next-use" last_separator "expected-use"
