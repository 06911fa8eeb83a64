#include "daemon/weights/load_rate.h"

enum { RECENT_BYTES = 256 << 20 };

void load_rate_begin(struct load_rate *rate, uint64_t now_usec)
{
    if (rate->n_fills++ == 0)
        rate->since_usec = now_usec;
}

void load_rate_end(struct load_rate *rate, uint64_t bytes, uint64_t now_usec)
{
    rate->usec += now_usec - rate->since_usec;
    rate->since_usec = now_usec;
    rate->n_fills--;
    rate->bytes += bytes;
    if (rate->bytes > RECENT_BYTES) {
        rate->bytes /= 2;
        rate->usec /= 2;
    }
}

uint64_t load_rate_bytes_per_sec(const struct load_rate *rate)
{
    return rate->usec == 0 ? 0 : (uint64_t)((double)rate->bytes * 1e6 / (double)rate->usec);
}
