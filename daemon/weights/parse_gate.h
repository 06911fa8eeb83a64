/* Bounds the memory of the texts that are parsed at one time. A parsed text takes many times its
 * length, so large ones are parsed one after the other, those of administrators first. Only the
 * parsing is inside: nobody waits here for a file. Any thread. */
#pragma once

#include "common/definition/definition.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    PARSE_BYTES_PER_BYTE = 84,        /* of jansson, at most */
    PARSE_VALUES_BYTES_MAX = 96 << 20 /* for a text that has all that definition.h allows */
};
/* The most that one text takes, with the text itself. */
enum { PARSE_BYTES_MAX = DEFINITION_BYTES_MAX + PARSE_VALUES_BYTES_MAX };

struct parse_gate {
    pthread_mutex_t mutex;
    pthread_cond_t left;
    uint64_t limit_bytes, used_bytes;
    unsigned n_urgent; /* that wait */
};

void parse_gate_init(struct parse_gate *gate, uint64_t limit_bytes);
void parse_gate_set_limit(struct parse_gate *gate, uint64_t limit_bytes);

/* Waits until a text that long may be parsed: beside others within the limit, or alone. Returns
 * what parse_gate_leave takes. `gate` may be NULL: no bound. From here on a calling step computes
 * (worker_computes). */
uint64_t parse_gate_enter(struct parse_gate *gate, uint64_t text_bytes, bool is_urgent);
void parse_gate_leave(struct parse_gate *gate, uint64_t n_bytes);
