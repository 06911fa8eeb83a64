/* Both numbers have five digits, because all tools write them so. */
#include "common/formats/part_name.h"

#include <stdlib.h>
#include <string.h>

static bool read_five(const char *digits, unsigned *ret)
{
    if (strspn(digits, "0123456789") != 5)
        return false;
    *ret = (unsigned)strtoul(digits, NULL, 10);
    return *ret > 0;
}

bool part_name_parse(const char *base, const char *extension, struct part_name *ret)
{
    enum { NUMBERS_BYTES = sizeof "-00001-of-00002" - 1 };
    size_t n = strlen(base), n_extension = strlen(extension);
    struct part_name name;

    if (n <= NUMBERS_BYTES + n_extension || strcmp(base + n - n_extension, extension) != 0)
        return false;
    name.n_stem = n - n_extension - NUMBERS_BYTES;
    const char *numbers = base + name.n_stem;
    if (numbers[0] != '-' || memcmp(numbers + 6, "-of-", 4) != 0 ||
        !read_five(numbers + 1, &name.part) || !read_five(numbers + 10, &name.n_parts) ||
        name.part > name.n_parts)
        return false;
    *ret = name;
    return true;
}
