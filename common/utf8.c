/* Well-formed means RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
#include "common/utf8.h"

#include <string.h>

size_t utf8_character(const char *text, size_t n_bytes, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)text;

    if (n_bytes == 0)
        return 0;
    size_t n = at[0] < 0x80             ? 1
               : (at[0] & 0xe0) == 0xc0 ? 2
               : (at[0] & 0xf0) == 0xe0 ? 3
               : (at[0] & 0xf8) == 0xf0 ? 4
                                        : 0;
    if (n == 0 || n > n_bytes)
        return 0;
    uint32_t character = n == 1 ? at[0] : at[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (at[i] & 0x3fu);
    }
    if (character < least[n] || character > 0x10ffff ||
        (character >= 0xd800 && character <= 0xdfff))
        return 0;
    *ret = character;
    return n;
}

bool utf8_is_valid(const char *text)
{
    size_t n_left = strlen(text);

    for (size_t n; n_left > 0; text += n, n_left -= n) {
        uint32_t character;
        n = utf8_character(text, n_left, &character);
        if (n == 0)
            return false;
    }
    return true;
}

bool utf8_is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

int utf8_prefix(const char *text, int max_bytes)
{
    size_t n = strnlen(text, (size_t)max_bytes + 1);

    if (n <= (size_t)max_bytes)
        return (int)n;
    n = (size_t)max_bytes;
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return (int)n;
}
