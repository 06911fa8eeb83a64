/* Owns the count of bytes that parsing may take now. */
#include "daemon/weights/parse_gate.h"

#include "daemon/system/workers.h"

void parse_gate_init(struct parse_gate *gate, uint64_t limit_bytes)
{
    *gate = (struct parse_gate){.limit_bytes = limit_bytes};
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->left, NULL);
}

void parse_gate_set_limit(struct parse_gate *gate, uint64_t limit_bytes)
{
    pthread_mutex_lock(&gate->mutex);
    gate->limit_bytes = limit_bytes;
    pthread_cond_broadcast(&gate->left);
    pthread_mutex_unlock(&gate->mutex);
}

static bool may_enter(const struct parse_gate *gate, uint64_t n_bytes, bool is_urgent)
{
    if (gate->n_urgent > 0 && !is_urgent)
        return false;
    return gate->used_bytes == 0 || gate->used_bytes + n_bytes <= gate->limit_bytes;
}

uint64_t parse_gate_enter(struct parse_gate *gate, uint64_t text_bytes, bool is_urgent)
{
    uint64_t n_bytes = PARSE_VALUES_BYTES_MAX;

    worker_computes();
    if (!gate)
        return 0;
    if (text_bytes < n_bytes / PARSE_BYTES_PER_BYTE)
        n_bytes = text_bytes * PARSE_BYTES_PER_BYTE;
    pthread_mutex_lock(&gate->mutex);
    gate->n_urgent += is_urgent;
    while (!may_enter(gate, n_bytes, is_urgent))
        pthread_cond_wait(&gate->left, &gate->mutex);
    gate->n_urgent -= is_urgent;
    gate->used_bytes += n_bytes;
    /* Who waited for the urgent ones only may enter beside this one. */
    pthread_cond_broadcast(&gate->left);
    pthread_mutex_unlock(&gate->mutex);
    return n_bytes;
}

void parse_gate_leave(struct parse_gate *gate, uint64_t n_bytes)
{
    if (!gate)
        return;
    pthread_mutex_lock(&gate->mutex);
    gate->used_bytes -= n_bytes;
    pthread_cond_broadcast(&gate->left);
    pthread_mutex_unlock(&gate->mutex);
}
