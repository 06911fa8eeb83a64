#include "common/address_space.h"

#include "common/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

uint64_t address_space_free_bytes(void)
{
    size_t n_bytes = 0;
    for (size_t step = SIZE_MAX / 2 + 1; step >= 1 << 20; step /= 2) {
        void *at = mmap(NULL, n_bytes + step, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED)
            continue;
        munmap(at, n_bytes + step);
        n_bytes += step;
    }
    return n_bytes;
}

const char *address_space_explain(uint64_t n_bytes, char text[static ADDRESS_SPACE_TEXT_MAX])
{
    char size[SIZE_TEXT_MAX];
    uint64_t free_bytes = address_space_free_bytes();
    if (free_bytes >= n_bytes)
        snprintf(text, ADDRESS_SPACE_TEXT_MAX, "%s", strerror(ENOMEM));
    else
        snprintf(text, ADDRESS_SPACE_TEXT_MAX, "this process has addresses for %s in one piece",
                 size_format(free_bytes, size));
    return text;
}
