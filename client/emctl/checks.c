#include "client/emctl/checks.h"

#include "client/emctl/unit_list.h"
#include "common/definition/definition.h"
#include "common/units.h"
#include "common/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool check_on_full(const char *value)
{
    return strcmp(value, "evict") == 0 || strcmp(value, "ask") == 0;
}

bool check_capacity(const char *value)
{
    uint64_t bytes;
    return size_parse(value, &bytes) == 0 && bytes > 0;
}

bool check_rate(const char *value)
{
    uint64_t bytes;
    return size_parse(value, &bytes) == 0 && bytes > 0 && bytes <= INT64_MAX;
}

bool check_compute(const char *value)
{
    uint64_t usec;
    return duration_parse(value, &usec) == 0 && usec <= INT64_MAX;
}

bool check_wait(const char *value)
{
    enum { WAIT_USEC_MAX = 60 * 1000 * 1000 }; /* the daemon's limit */
    uint64_t usec;
    return duration_parse(value, &usec) == 0 && usec <= WAIT_USEC_MAX;
}

static bool check_count(const char *value, unsigned long max)
{
    unsigned long n = strtoul(value, NULL, 10);
    return value[strspn(value, "0123456789")] == '\0' && n > 0 && n <= max;
}

bool check_passes(const char *value)
{
    return check_count(value, 1000);
}

bool check_experts(const char *value)
{
    return check_count(value, 256);
}

bool check_units(const char *value)
{
    uint32_t units[EDGEMIND_UNITS_MAX];
    return unit_list_parse(value, units) > 0;
}

/* If a script's variable is unset, emctl must not fall back to the machine's own daemon. */
bool check_path(const char *value)
{
    return *value != '\0';
}

/* The daemon would replace characters that a model's name cannot hold, and the user would not find
 * the model by the name given. */
bool check_name(const char *value)
{
    size_t n_left = strlen(value);

    if (n_left == 0 || n_left > DEFINITION_NAME_MAX || strchr(value, '/'))
        return false;
    for (size_t n; n_left > 0; value += n, n_left -= n) {
        uint32_t character;
        n = utf8_character(value, n_left, &character);
        if (n == 0 || utf8_is_control(character))
            return false;
    }
    return true;
}

bool check_model(const char *value)
{
    char name[DEFINITION_NAME_MAX + 1];
    size_t n = strcspn(value, "=");

    if (n >= sizeof name || !value[n] || !value[n + 1])
        return false;
    memcpy(name, value, n);
    name[n] = '\0';
    return check_name(name);
}
