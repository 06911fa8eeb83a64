/* The chart of emctl map: the daemon's memory of the last hour against the capacity, as SVG. */
#pragma once

#include "client/emctl/top_data.h"

#include <stdio.h>

enum { MAP_CHART_HEIGHT = 130 };

/* Draws with its upper left corner at x, y. */
void map_chart_write(FILE *stream, const struct top_data *data, int x, int y, int width);
