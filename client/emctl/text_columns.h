/* Text on a terminal: how wide it is, and how it is made shorter. */
#pragma once

#include <stddef.h>

/* How many columns of a terminal the text takes. If the locale cannot show it, its bytes count. */
size_t text_columns(const char *text);

/* Shortens the text to `room` columns by removing its middle, because names, such as those of the
 * tensors of a layer, differ in their endings. The caller owns it. NULL when out of memory, or if
 * the locale has no such characters; then the text can only be cut. */
char *text_shorten(const char *text, size_t room);
