/* Lets the loads that make room in portions go on, a portion in each turn of the loop. */
#pragma once

#include "daemon/weights/load_request.h"

struct event_base;
struct load_portions;

/* Returns 0 or -ENOMEM. The loads are borrowed. */
int load_portions_new(struct event_base *base, struct load_requests *loads,
                      struct load_portions **ret);
struct load_portions *load_portions_free(struct load_portions *portions);
