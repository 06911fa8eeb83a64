/* How events and Why name the client that asked for something. */
#pragma once

#include "daemon/scheduler/requester.h"
#include "proto/fields.h"

/* It points into itself: do not copy it. */
struct requester_row {
    const char *user, *method; /* NULL: absent */
    uint64_t uid, pid;         /* UINT64_MAX: absent */
    char user_text[12];
};

#define REQUESTER_FIELDS(type, member)                                        \
    {"user", FIELD_STRING, offsetof(type, member.user), FIELD_NULLABLE},      \
        {"uid", FIELD_U64, offsetof(type, member.uid), FIELD_NULLABLE},       \
        {"pid", FIELD_U64, offsetof(type, member.pid), FIELD_NULLABLE},       \
    {                                                                         \
        "method", FIELD_STRING, offsetof(type, member.method), FIELD_NULLABLE \
    }

/* If neither a method nor a process is known, everything is absent. */
void requester_row_fill(struct requester_row *row, const struct requester *requester);
