#include "client/emctl/text_columns.h"

#include "common/cleanup.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

size_t text_columns(const char *text)
{
    size_t n = mbstowcs(NULL, text, 0);
    _cleanup_(freep) wchar_t *wide = n == (size_t)-1 ? NULL : calloc(n + 1, sizeof *wide);

    if (!wide || mbstowcs(wide, text, n + 1) == (size_t)-1)
        return strlen(text);
    int width = wcswidth(wide, n);
    return width < 0 ? strlen(text) : (size_t)width;
}

char *text_shorten(const char *text, size_t room)
{
    const wchar_t *dots = wcwidth(0x2026) == 1 ? L"\u2026" : L"...";
    size_t n = mbstowcs(NULL, text, 0), n_dots = wcslen(dots);

    if (n == (size_t)-1 || room <= n_dots)
        return NULL;
    size_t head_room = (room - n_dots + 1) / 2, tail_room = room - n_dots - head_room;
    _cleanup_(freep) wchar_t *wide = calloc(n + 1, sizeof *wide);
    _cleanup_(freep) wchar_t *shorter = calloc(room + 1, sizeof *shorter);
    if (!wide || !shorter)
        return NULL;
    mbstowcs(wide, text, n + 1);
    size_t head = n, tail = n;
    while (head > 0 && wcswidth(wide, head) > (int)head_room)
        head--;
    while (tail > head && wcswidth(wide + tail - 1, n - tail + 1) <= (int)tail_room)
        tail--;
    if (head + n_dots + n - tail > room)
        return NULL;
    wmemcpy(shorter, wide, head);
    wmemcpy(shorter + head, dots, n_dots);
    wmemcpy(shorter + head + n_dots, wide + tail, n - tail);
    size_t n_bytes = wcstombs(NULL, shorter, 0);
    char *result = n_bytes == (size_t)-1 ? NULL : malloc(n_bytes + 1);
    if (result)
        wcstombs(result, shorter, n_bytes + 1);
    return result;
}
