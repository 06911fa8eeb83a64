/* Wagner and Fischer's table, of which only one row is kept. */
#include "client/emctl/spelling.h"

#include <stdint.h>
#include <string.h>

size_t spelling_distance(const char *a, const char *b)
{
    enum { WORD_MAX = 31 };
    size_t row[WORD_MAX + 1], n = strlen(b);

    if (n > WORD_MAX || strlen(a) > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            if (change < row[j])
                row[j] = change;
        }
    }
    return row[n];
}
