/* The recent speed of all fills together, while any is in flight. A zeroed struct has seen none. */
#pragma once

#include <stdint.h>

struct load_rate {
    uint64_t n_fills, since_usec; /* in flight; when `usec` was last brought up to date */
    uint64_t bytes, usec;         /* halved from time to time, so that recent fills count more */
};

void load_rate_begin(struct load_rate *rate, uint64_t now_usec);
/* `bytes` is 0 if the fill has failed. */
void load_rate_end(struct load_rate *rate, uint64_t bytes, uint64_t now_usec);

/* 0 before the first fill has ended. */
uint64_t load_rate_bytes_per_sec(const struct load_rate *rate);
