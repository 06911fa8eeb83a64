/* Walks text and tree side by side. */
#include "common/json_matches.h"

#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    const char *at, *end;
};

static void skip(struct reading *text, const char *characters)
{
    while (text->at < text->end && *text->at && strchr(characters, *text->at))
        text->at++;
}

static bool take(struct reading *text, char c)
{
    skip(text, " \t\r\n");
    if (text->at == text->end || *text->at != c)
        return false;
    text->at++;
    return true;
}

/* Reads the four digits of an escape. False if there are none. */
static bool take_unit(struct reading *text, uint32_t *ret)
{
    char digits[5] = "", *end;

    if (text->end - text->at < 4)
        return false;
    memcpy(digits, text->at, 4);
    text->at += 4;
    *ret = (uint32_t)strtoul(digits, &end, 16);
    return end == digits + 4;
}

static size_t encode(uint32_t character, char utf8[static 4])
{
    size_t n = character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = n; i-- > 1; character >>= 6)
        utf8[i] = (char)(0x80 | (character & 0x3f));
    utf8[0] = (char)(leads[n == 1 ? 0 : n] | character);
    return n;
}

/* Converts the escape after a backslash to UTF-8. 0 bytes if it is not an escape. */
static size_t take_escape(struct reading *text, char utf8[static 4])
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    uint32_t character, low;

    if (text->at == text->end)
        return 0;
    char c = *text->at++;
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter) {
        utf8[0] = meanings[letter - letters];
        return 1;
    }
    if (c != 'u' || !take_unit(text, &character))
        return 0;
    if (character >= 0xd800 && character < 0xdc00) {
        if (text->end - text->at < 2 || memcmp(text->at, "\\u", 2) != 0)
            return 0;
        text->at += 2;
        if (!take_unit(text, &low) || low < 0xdc00 || low > 0xdfff)
            return 0;
        character = 0x10000 + ((character - 0xd800) << 10) + (low - 0xdc00);
    }
    return encode(character, utf8);
}

static bool string_matches(struct reading *text, const char *value, size_t n_value)
{
    size_t n_done = 0;

    if (!take(text, '"'))
        return false;
    while (text->at < text->end && *text->at != '"') {
        char utf8[4] = {*text->at++};
        size_t n = utf8[0] == '\\' ? take_escape(text, utf8) : 1;
        if (n == 0 || n > n_value - n_done || memcmp(value + n_done, utf8, n) != 0)
            return false;
        n_done += n;
    }
    return n_done == n_value && take(text, '"');
}

static bool number_matches(struct reading *text, const json_t *json)
{
    enum { NUMBER_BYTES_MAX = 400 }; /* longer reals are not compared */
    char number[NUMBER_BYTES_MAX + 1], *point;

    skip(text, " \t\r\n");
    const char *begin = text->at;
    skip(text, "+-.0123456789eE");
    size_t n = (size_t)(text->at - begin);
    if (n > NUMBER_BYTES_MAX)
        return json_is_real(json);
    memcpy(number, begin, n);
    number[n] = '\0';
    if (json_is_integer(json))
        return n > 0 && strtoll(number, NULL, 10) == json_integer_value(json);
    point = strchr(number, '.');
    if (point)
        *point = *localeconv()->decimal_point;
    return n > 0 && strtod(number, NULL) == json_real_value(json);
}

static bool word_matches(struct reading *text, const char *word)
{
    size_t n = strlen(word);

    skip(text, " \t\r\n");
    if ((size_t)(text->end - text->at) < n || memcmp(text->at, word, n) != 0)
        return false;
    text->at += n;
    return true;
}

static bool value_matches(struct reading *text, const json_t *json)
{
    const char *key;
    json_t *value;
    size_t i, n = 0;

    switch (json_typeof(json)) {
    case JSON_OBJECT:
        if (!take(text, '{'))
            return false;
        json_object_foreach ((json_t *)(uintptr_t)json, key, value)
            if ((n++ > 0 && !take(text, ',')) || !string_matches(text, key, strlen(key)) ||
                !take(text, ':') || !value_matches(text, value))
                return false;
        return take(text, '}');
    case JSON_ARRAY:
        if (!take(text, '['))
            return false;
        json_array_foreach (json, i, value)
            if ((i > 0 && !take(text, ',')) || !value_matches(text, value))
                return false;
        return take(text, ']');
    case JSON_STRING:
        return string_matches(text, json_string_value(json), json_string_length(json));
    case JSON_INTEGER:
    case JSON_REAL:
        return number_matches(text, json);
    case JSON_TRUE:
        return word_matches(text, "true");
    case JSON_FALSE:
        return word_matches(text, "false");
    case JSON_NULL:
        return word_matches(text, "null");
    default:
        return false;
    }
}

bool json_matches(const char *text, size_t n_bytes, const json_t *json)
{
    struct reading reading = {text, text + n_bytes};

    if (!value_matches(&reading, json))
        return false;
    skip(&reading, " \t\r\n");
    return reading.at == reading.end;
}
