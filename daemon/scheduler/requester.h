/* On whose behalf the scheduler is called. */
#pragma once

#include <stdint.h>

struct requester {
    const char *method; /* static, as "LoadModel"; NULL: no client's call */
    uint32_t uid;
    int32_t pid;
};
