#include "common/address_space.h"

#include "common/units.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static bool has_addresses(uint64_t n_bytes)
{
    if (n_bytes > SIZE_MAX)
        return false;
    void *at =
        mmap(NULL, (size_t)n_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return false;
    munmap(at, (size_t)n_bytes);
    return true;
}

/* Maps no more than that, because an emulator needs memory for each page that is mapped. */
uint64_t address_space_free_bytes(uint64_t most_bytes)
{
    uint64_t n_bytes = 0;

    if (has_addresses(most_bytes))
        return most_bytes;
    for (uint64_t step = (uint64_t)1 << 63; step >= 1 << 20; step /= 2)
        if (n_bytes + step < most_bytes && has_addresses(n_bytes + step))
            n_bytes += step;
    return n_bytes;
}

const char *address_space_explain(uint64_t n_bytes, char text[static ADDRESS_SPACE_TEXT_MAX])
{
    char size[SIZE_TEXT_MAX];
    uint64_t free_bytes = address_space_free_bytes(n_bytes);
    if (free_bytes >= n_bytes)
        snprintf(text, ADDRESS_SPACE_TEXT_MAX, "%s", strerror(ENOMEM));
    else
        snprintf(text, ADDRESS_SPACE_TEXT_MAX, "this process has addresses for %s in one piece",
                 size_format(free_bytes, size));
    return text;
}
