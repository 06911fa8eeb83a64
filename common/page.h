/* The system's page: 4 KiB, or 16 or 64 KiB with some kernels for arm64. All code asks here. */
#pragma once

#include <stdint.h>
#include <unistd.h>

static inline uint64_t system_page_bytes(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}
