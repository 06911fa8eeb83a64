/* Owns what a ledger's file says about layers: which are resident, and where they lie. */
#include "daemon/restart/ledger_layers.h"

#include <errno.h>
#include <inttypes.h>

/* Whether the layer needs exactly `n_pages` pages in this arena. */
static bool needs_pages(const struct ledger_reading *reading, const struct layer_definition *layer,
                        uint64_t n_pages)
{
    uint64_t bytes;
    return !__builtin_add_overflow(layer->bytes, layer->shift_bytes, &bytes) &&
           (bytes - 1) / reading->arena->page_bytes + 1 == n_pages;
}

static int add_found(struct ledger_reading *reading, const struct ledger_found *found)
{
    struct ledger_recovery *recovery = reading->recovery;
    if (recovery->n_layers == reading->n_found_max) {
        size_t n = reading->n_found_max ? 2 * reading->n_found_max : 256;
        struct ledger_found *more = reallocarray(reading->found, n, sizeof *more);
        if (!more)
            return -ENOMEM;
        reading->found = more;
        reading->n_found_max = n;
    }
    reading->found[recovery->n_layers++] = *found;
    return 0;
}

static int read_layer(struct ledger_reading *reading, uint32_t model, uint32_t index,
                      uint64_t place, const struct ledger_record *record)
{
    const struct ledger_recovered_model *owner = &reading->recovery->models[model];
    int r = ledger_check_record(reading, record, place, LEDGER_LAYER);
    if (r <= 0)
        return r;
    if (record->model != owner->id || record->layer.index != index)
        return ledger_refuse(reading, -EBADMSG,
                             "the ledger's record at byte %" PRIu64 " belongs to another layer",
                             place);
    if (record->state == LEDGER_ABSENT)
        return 0;
    bool is_leased = record->state == LEDGER_LEASED || record->state == LEDGER_MAPPED;
    if (record->layer.epoch > reading->ledger->epoch)
        return ledger_refuse(reading, -EBADMSG, "a layer in the ledger belongs to a future epoch");
    if (!is_leased && record->layer.epoch < reading->ledger->epoch)
        return 0;
    if (is_leased != (record->n_leases > 0) ||
        !needs_pages(reading, &owner->definition->layers[index], record->layer.n_pages) ||
        record->layer.n_extents == 0 || record->layer.n_extents > record->layer.n_pages ||
        record->layer.fill_id > reading->ledger->last_fill_id)
        return ledger_refuse(reading, -EBADMSG,
                             "the ledger's record of layer %" PRIu32 " of model %" PRIu64
                             " is impossible",
                             index, owner->id);
    reading->n_extents_max += record->layer.n_extents;
    return add_found(reading, &(struct ledger_found){
                                  .layer = {.fill_id = record->layer.fill_id,
                                            .step = record->step,
                                            .model = model,
                                            .index = index,
                                            .n_leases = record->n_leases,
                                            .is_mapped = record->state == LEDGER_MAPPED},
                                  .first_page = record->layer.first_page,
                                  .n_pages = record->layer.n_pages,
                                  .n_extents = record->layer.n_extents,
                              });
}

int ledger_read_layers(struct ledger_reading *reading, uint32_t model)
{
    const struct ledger_recovered_model *owner = &reading->recovery->models[model];
    const struct ledger_slot *slot = ledger_slot_of(reading->ledger, owner->id);
    uint32_t n_layers = owner->definition->n_layers;
    int r = 0;
    for (uint32_t begin = 0; begin < n_layers && r == 0; begin += LEDGER_BATCH) {
        uint32_t n = n_layers - begin < LEDGER_BATCH ? n_layers - begin : (uint32_t)LEDGER_BATCH;
        r = ledger_read(reading->ledger->fd, ledger_layer_place(slot, begin), reading->batch,
                        n * sizeof *reading->batch);
        for (uint32_t i = 0; i < n && r == 0; i++)
            r = read_layer(reading, model, begin + i, ledger_layer_place(slot, begin + i),
                           &reading->batch[i]);
    }
    return r;
}

static int compare_found(const void *a, const void *b)
{
    const struct ledger_found *x = a, *y = b;
    return (x->layer.step > y->layer.step) - (x->layer.step < y->layer.step);
}

static int add_extent(const struct ledger_reading *reading, size_t layer, uint64_t first_page,
                      uint64_t n_pages)
{
    struct ledger_recovery *recovery = reading->recovery;
    uint64_t capacity_pages = reading->arena->capacity_bytes / reading->arena->page_bytes;
    if (n_pages == 0 || n_pages > capacity_pages || first_page > capacity_pages - n_pages)
        return ledger_refuse(reading, -EBADMSG, "a layer in the ledger lies outside of the arena");
    recovery->extents[recovery->n_extents++] =
        (struct ledger_recovered_extent){first_page, n_pages, layer};
    return 0;
}

/* Follows the links of a layer in several extents. */
static int read_links(const struct ledger_reading *reading, size_t layer,
                      const struct ledger_found *found)
{
    uint64_t page = found->first_page, left_pages = found->n_pages;
    uint64_t capacity_pages = reading->arena->capacity_bytes / reading->arena->page_bytes;
    int r = 0;
    for (uint32_t i = 0; i < found->n_extents && r == 0; i++) {
        struct ledger_link link;
        uint64_t place = ledger_link_place(page);
        bool is_last = i + 1 == found->n_extents;
        if (page >= capacity_pages)
            return ledger_refuse(reading, -EBADMSG,
                                 "a layer in the ledger lies outside of the arena");
        r = ledger_read(reading->ledger->fd, place, &link, sizeof link);
        if (r < 0)
            return r;
        if (link.crc != ledger_link_crc(&link, place) || link.fill_id != found->layer.fill_id ||
            link.n_pages > left_pages || (link.next_page == UINT64_MAX) != is_last ||
            link.next_page <= page)
            return ledger_refuse(reading, -EBADMSG,
                                 "the ledger's link of page %" PRIu64 " is damaged", page);
        r = add_extent(reading, layer, page, link.n_pages);
        left_pages -= link.n_pages;
        page = link.next_page;
    }
    if (r == 0 && left_pages > 0)
        return ledger_refuse(reading, -EBADMSG, "a layer in the ledger lacks pages");
    return r;
}

static int compare_extents(const void *a, const void *b)
{
    const struct ledger_recovered_extent *x = a, *y = b;
    return (x->first_page > y->first_page) - (x->first_page < y->first_page);
}

int ledger_read_extents(struct ledger_reading *reading)
{
    struct ledger_recovery *recovery = reading->recovery;
    uint64_t capacity_pages = reading->arena->capacity_bytes / reading->arena->page_bytes;
    int r = 0;
    if (reading->n_extents_max > capacity_pages)
        return ledger_refuse(reading, -EBADMSG,
                             "the ledger has more extents than the arena has pages");
    if (recovery->n_layers > 0)
        qsort(reading->found, recovery->n_layers, sizeof *reading->found, compare_found);
    recovery->layers = calloc(recovery->n_layers + 1, sizeof *recovery->layers);
    recovery->extents = calloc(reading->n_extents_max + 1, sizeof *recovery->extents);
    if (!recovery->layers || !recovery->extents)
        return -ENOMEM;
    for (size_t i = 0; i < recovery->n_layers && r == 0; i++) {
        const struct ledger_found *found = &reading->found[i];
        recovery->layers[i] = found->layer;
        r = found->n_extents == 1 ? add_extent(reading, i, found->first_page, found->n_pages)
                                  : read_links(reading, i, found);
    }
    if (r < 0)
        return r;
    qsort(recovery->extents, recovery->n_extents, sizeof *recovery->extents, compare_extents);
    for (size_t i = 1; i < recovery->n_extents; i++)
        if (recovery->extents[i - 1].first_page + recovery->extents[i - 1].n_pages >
            recovery->extents[i].first_page)
            return ledger_refuse(reading, -EBADMSG,
                                 "two layers in the ledger overlap at page %" PRIu64,
                                 recovery->extents[i].first_page);
    return 0;
}
