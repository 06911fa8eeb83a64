#include "daemon/methods/requester_row.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

void requester_row_fill(struct requester_row *row, const struct requester *requester)
{
    bool is_known = requester->method || requester->pid > 0;

    snprintf(row->user_text, sizeof row->user_text, "%" PRIu32, requester->uid);
    row->user = is_known ? row->user_text : NULL;
    row->uid = is_known ? requester->uid : UINT64_MAX;
    row->pid = is_known ? (uint64_t)requester->pid : UINT64_MAX;
    row->method = requester->method;
}
