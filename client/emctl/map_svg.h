/* The map of the arena as a picture. */
#pragma once

#include "client/emctl/top_data.h"

#include <stdio.h>

/* Writes an SVG. `host` may be NULL. The stream keeps its own errors. 0 or -ENOMEM. */
int map_svg_write(FILE *stream, const struct top_data *data, const char *host);
