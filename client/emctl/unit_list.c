#include "client/emctl/unit_list.h"

#include <ctype.h>
#include <stdlib.h>

static bool has(const uint32_t *units, size_t n, uint64_t unit)
{
    for (size_t i = 0; i < n; i++)
        if (units[i] == unit)
            return true;
    return false;
}

size_t unit_list_parse(const char *text, uint32_t ret[static EDGEMIND_UNITS_MAX])
{
    for (size_t n = 0; n < EDGEMIND_UNITS_MAX; text++) {
        char *end;
        unsigned long long unit = strtoull(text, &end, 10);
        if (!isdigit((unsigned char)*text) || unit > UINT32_MAX || has(ret, n, unit))
            return 0;
        ret[n++] = (uint32_t)unit;
        text = end;
        if (!*text)
            return n;
        if (*text != ',')
            return 0;
    }
    return 0;
}

json_t *unit_list_json(const char *text)
{
    uint32_t units[EDGEMIND_UNITS_MAX];
    size_t n = text ? unit_list_parse(text, units) : 0;
    json_t *array = n > 0 ? json_array() : NULL;

    for (size_t i = 0; array && i < n; i++) {
        if (json_array_append_new(array, json_integer(units[i])) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}
