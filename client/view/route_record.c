/* Each row is written at once, because nothing ends the library's thread when the program exits. */
#include "client/view/route_record.h"

#include "common/residency/layer_uses.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NO_LAYER = UINT32_MAX };

struct route_record {
    char *path;
    const struct unit_table *table; /* borrowed */
    int fd;                         /* -1: not made yet; -2: it cannot be made */
    uint32_t *layers;               /* of each unit; NO_LAYER: it is dense */
    uint64_t *seen;                 /* for each layer: the step that used it last, from 1 on */
    uint32_t n_layers, at, n_slots; /* `at`: the layer that was used last */
    uint64_t step;
};

static void find_layers(struct route_record *record)
{
    const char *last = NULL;

    for (uint32_t i = 0; i < record->table->n_units; i++) {
        const char *name = record->table->names[i];
        record->layers[i] = NO_LAYER;
        if (!layer_is_unit(name))
            continue;
        record->n_layers += !last || !layer_are_parts(last, name);
        record->layers[i] = record->n_layers - 1;
        last = name;
    }
}

struct route_record *route_record_new(const char *path, const struct unit_table *table)
{
    _cleanup_(route_record_freep) struct route_record *record = calloc(1, sizeof *record);

    if (!record)
        return NULL;
    record->fd = -1;
    record->table = table;
    record->at = NO_LAYER;
    record->path = strdup(path);
    record->layers = calloc(table->n_units, sizeof *record->layers);
    record->seen = calloc(table->n_units, sizeof *record->seen);
    if (!record->path || !record->layers || !record->seen)
        return NULL;
    find_layers(record);
    return TAKE_PTR(record);
}

void route_record_free(struct route_record *record)
{
    if (!record)
        return;
    if (record->fd >= 0)
        close(record->fd);
    free(record->path);
    free(record->layers);
    free(record->seen);
    free(record);
}

static void write_layer(const struct route_record *record, uint32_t layer, uint64_t expert_bytes,
                        uint64_t dense_bytes)
{
    dprintf(record->fd, "# layer=%" PRIu32 " expert_bytes=%" PRIu64 " dense_bytes=%" PRIu64 "\n",
            layer, expert_bytes, dense_bytes);
}

static void begin(struct route_record *record)
{
    const struct unit_table *table = record->table;
    uint64_t expert_bytes = 0, dense_bytes = 0;
    uint32_t layer = 0;

    record->fd = open(record->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (record->fd < 0) {
        record->fd = -2;
        return;
    }
    dprintf(record->fd, "# route_trace v1\n");
    for (uint32_t i = 0; i < table->n_units; i++) {
        if (record->layers[i] == NO_LAYER) {
            dense_bytes += table->bytes[i];
            continue;
        }
        if (record->layers[i] != layer) {
            write_layer(record, layer++, expert_bytes, dense_bytes);
            expert_bytes = dense_bytes = 0;
        }
        if (expert_bytes < table->bytes[i])
            expert_bytes = table->bytes[i];
    }
    write_layer(record, layer, expert_bytes, dense_bytes);
    dprintf(record->fd, "turn,phase,step,layer,slot,expert\n");
}

void route_record_use(struct route_record *record, uint32_t unit)
{
    uint32_t layer = record->layers[unit];

    if (layer == NO_LAYER)
        return;
    if (record->fd == -1)
        begin(record);
    if (layer != record->at) {
        record->step += record->seen[layer] == record->step + 1;
        record->seen[layer] = record->step + 1;
        record->at = layer;
        record->n_slots = 0;
    }
    if (record->fd >= 0)
        dprintf(record->fd, "0,1,%" PRIu64 ",%" PRIu32 ",%" PRIu32 ",%s\n", record->step, layer,
                record->n_slots++, strrchr(record->table->names[unit], ':') + 2);
}
