/* Layers of one model that are to be resident at the same time. Only borrowed pointers. */
#pragma once

#include "daemon/scheduler/model.h"

struct layer_set {
    struct layer *const *layers; /* each only once */
    uint32_t n;                  /* > 0 */
};
