/* Sizes and durations as text. All arithmetic is on integers; fractions of a byte or of a
 * microsecond are cut off. The locale does not matter. */
#include "common/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit sizes[] = {
    {"", 1},
    {"B", 1},
    {"K", UINT64_C(1) << 10},
    {"M", UINT64_C(1) << 20},
    {"G", UINT64_C(1) << 30},
    {"T", UINT64_C(1) << 40},
    {"P", UINT64_C(1) << 50},
    {"E", UINT64_C(1) << 60},
    {NULL, 0},
};

static const struct unit durations[] = {
    {"", 1000000},
    {"us", 1},
    {"ms", 1000},
    {"s", 1000000},
    {"min", 60 * UINT64_C(1000000)},
    {"h", 3600 * UINT64_C(1000000)},
    {"d", 24 * 3600 * UINT64_C(1000000)},
    {NULL, 0},
};

static size_t digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* Reads one number and its unit at `*text`, and moves `*text` to their end. `ret_bare`: there was
 * no unit. */
static int parse_quantity(const char **text, const struct unit *units, uint64_t *ret, int *ret_bare)
{
    const char *p = *text;
    size_t n = digits(p), n_fraction = 0;
    const char *fraction = "";

    if (n == 0)
        return -EINVAL;
    const char *whole = p;
    p += n;
    if (*p == '.') {
        fraction = p + 1;
        n_fraction = digits(fraction);
        if (n_fraction == 0)
            return -EINVAL;
        p = fraction + n_fraction;
    }

    size_t n_blank = strspn(p, " ");
    if (p[n_blank] >= 'A') /* "50 M" is valid, but "50 " is not */
        p += n_blank;
    size_t n_unit = strcspn(p, " .0123456789");
    const struct unit *unit = units;
    while (unit->name && (strlen(unit->name) != n_unit || memcmp(unit->name, p, n_unit) != 0))
        unit++;
    if (!unit->name)
        return -EINVAL;

    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(whole[i] - '0'), &value))
            return -ERANGE;
    if (__builtin_mul_overflow(value, unit->factor, &value))
        return -ERANGE;

    /* From the last digit on. Ten times the largest factor, 2^60, stays below 2^64. */
    uint64_t part = 0;
    for (size_t i = n_fraction; i-- > 0;)
        part = (part + (uint64_t)(fraction[i] - '0') * unit->factor) / 10;
    if (__builtin_add_overflow(value, part, &value))
        return -ERANGE;

    *text = p + n_unit;
    *ret = value;
    *ret_bare = n_unit == 0;
    return 0;
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
    uint64_t bytes;
    int bare;

    int r = parse_quantity(&text, sizes, &bytes, &bare);
    if (r < 0)
        return r;
    if (*text != '\0')
        return -EINVAL;
    *ret_bytes = bytes;
    return 0;
}

char *size_format(uint64_t bytes, char text[static SIZE_TEXT_MAX])
{
    static const char prefixes[] = "KMGTPE";

    if (bytes < 1024) {
        snprintf(text, SIZE_TEXT_MAX, "%u B", (unsigned)bytes);
        return text;
    }
    for (unsigned i = 0;; i++) {
        uint64_t unit = UINT64_C(1) << (10 * (i + 1));
        uint64_t tenths = bytes / unit * 10 + (bytes % unit * 10 + unit / 2) / unit;
        /* If the number rounds to 1024.0, the next unit is used. */
        if (tenths < 10240 || prefixes[i + 1] == '\0') {
            snprintf(text, SIZE_TEXT_MAX, "%u.%u %ciB", (unsigned)(tenths / 10),
                     (unsigned)(tenths % 10), prefixes[i]);
            return text;
        }
    }
}

int duration_parse(const char *text, uint64_t *ret_usec)
{
    uint64_t sum = 0, part;
    int bare;

    for (unsigned n = 0;; n++) {
        int r = parse_quantity(&text, durations, &part, &bare);
        if (r < 0)
            return r;
        if (bare && (n > 0 || *text != '\0'))
            return -EINVAL;
        if (__builtin_add_overflow(sum, part, &sum))
            return -ERANGE;
        if (*text == '\0')
            break;
        text += strspn(text, " ");
    }
    *ret_usec = sum;
    return 0;
}

/* Formats `usec` in units of `unit_usec`, with three digits. It must be less than 1000 units. */
static void format_three_digits(uint64_t usec, uint64_t unit_usec, const char *unit,
                                char text[static DURATION_TEXT_MAX])
{
    uint64_t scale = 100; /* fractions of the unit that are shown */
    unsigned decimals = 2;

    for (; scale > 1 && (usec * scale + unit_usec / 2) / unit_usec >= 1000; scale /= 10)
        decimals--;
    uint64_t parts = (usec * scale + unit_usec / 2) / unit_usec;
    if (decimals == 0)
        snprintf(text, DURATION_TEXT_MAX, "%" PRIu64 " %s", parts, unit);
    else
        snprintf(text, DURATION_TEXT_MAX, "%" PRIu64 ".%0*" PRIu64 " %s", parts / scale,
                 (int)decimals, parts % scale, unit);
}

char *duration_format(uint64_t usec, char text[static DURATION_TEXT_MAX])
{
    uint64_t seconds = usec / 1000000;

    if (usec < 1000)
        snprintf(text, DURATION_TEXT_MAX, "%" PRIu64 " us", usec);
    else if (usec < 999500) /* if it rounds to 1000 ms, it is shown as a second */
        format_three_digits(usec, 1000, "ms", text);
    else if (seconds < 60)
        format_three_digits(usec, 1000000, "s", text);
    else if (seconds < 3600)
        snprintf(text, DURATION_TEXT_MAX, "%" PRIu64 " min %" PRIu64 " s", seconds / 60,
                 seconds % 60);
    else if (seconds < 86400)
        snprintf(text, DURATION_TEXT_MAX, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600,
                 seconds / 60 % 60);
    else
        snprintf(text, DURATION_TEXT_MAX, "%" PRIu64 " d %" PRIu64 " h", seconds / 86400,
                 seconds / 3600 % 24);
    return text;
}

int round_up(uint64_t value, uint64_t unit, uint64_t *ret)
{
    uint64_t rest = value % unit, result;

    if (__builtin_add_overflow(value, rest ? unit - rest : 0, &result))
        return -EOVERFLOW;
    *ret = result;
    return 0;
}
