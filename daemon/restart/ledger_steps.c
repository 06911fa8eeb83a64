/* Owns the steps, and the order in which their parts are written.
 *
 * Invariant: when a step's function has returned, its record is in its own place, and each record
 * was among the last two steps before it got there. A definition or an extent's link is written
 * before the record that refers to it, at a place where no valid data can be.
 *
 * Leaves to others: the file's layout (ledger_file.c), definitions (ledger_definition.c), reading
 * (ledger_recover.c), when a step is due (the scheduler's observer). */
#include "daemon/restart/ledger.h"

#include "common/units.h"
#include "daemon/restart/ledger_definition.h"
#include "daemon/restart/ledger_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>

/* Ends a step. If it failed, no later step may count either, and the file is emptied. */
static int end_step(struct ledger *ledger, int r)
{
    if (r < 0) {
        ledger->is_void = true;
        /* Shortening a memory file needs no resource that could run out. If it fails all the same,
         * the process must stop, because otherwise it would overwrite layers that the ledger still
         * lists. */
        if (ftruncate(ledger->fd, 0) < 0)
            abort();
    }
    return r;
}

static int write_record(struct ledger *ledger, uint64_t place, struct ledger_record *record)
{
    record->step = ledger->step + 1;
    record->crc = ledger_record_crc(record, place);
    struct ledger_step step = {
        .place = place,
        .last_fill_id = ledger->last_fill_id,
        .loaded_bytes = ledger->loaded_bytes,
        .record = *record,
    };
    step.crc = ledger_step_crc(&step);
    int r = ledger_write(ledger->fd, ledger_step_place(record->step), &step, sizeof step);
    if (r < 0)
        return r;
    ledger->step = record->step;
    return ledger_write(ledger->fd, place, record, sizeof *record);
}

static int write_epoch(struct ledger *ledger, uint64_t epoch)
{
    struct ledger_record record = {.kind = LEDGER_EPOCH, .state = LEDGER_PRESENT, .epoch = epoch};
    ledger->epoch = epoch;
    return write_record(ledger, LEDGER_EPOCH_OFFSET, &record);
}

int ledger_new(const struct ledger_arena *arena, struct ledger **ret)
{
    struct ledger_header header;
    _cleanup_(ledger_freep) struct ledger *ledger = calloc(1, sizeof *ledger);
    if (!ledger)
        return -ENOMEM;
    ledger->fd = -1;
    uint64_t end_bytes;
    int r = ledger_regions_offset(arena, &end_bytes);
    if (r == 0)
        r = ledger_make_header(arena, &header);
    if (r < 0)
        return r;
    ledger->fd = memfd_create("edgemind-ledger", MFD_CLOEXEC);
    if (ledger->fd < 0 || ftruncate(ledger->fd, (off_t)end_bytes) < 0)
        return -errno;
    ledger->end_bytes = end_bytes;
    r = ledger_lock(ledger->fd);
    if (r == 0)
        r = ledger_write(ledger->fd, 0, &header, sizeof header);
    if (r == 0)
        r = write_epoch(ledger, 1);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(ledger);
    return 0;
}

struct ledger *ledger_free(struct ledger *ledger)
{
    if (ledger)
        closep(&ledger->fd);
    free(ledger);
    return NULL;
}

int ledger_fd(const struct ledger *ledger)
{
    return ledger->fd;
}

/* Returns NULL if the model has none. */
static const struct ledger_slot *find_slot(const struct ledger *ledger, const struct model *model)
{
    for (size_t i = 0; i < LEDGER_MODELS_MAX; i++) {
        const struct ledger_slot *slot = &ledger->slots[(ledger->latest + i) % LEDGER_MODELS_MAX];
        if (slot->id != 0 && slot->model == model)
            return slot;
    }
    return NULL;
}

/* The slot for a step about this model. The model must have one. */
static struct ledger_slot *use_slot(struct ledger *ledger, const struct model *model)
{
    const struct ledger_slot *slot = find_slot(ledger, model);
    assert(slot);
    ledger->latest = (size_t)(slot - ledger->slots);
    return &ledger->slots[ledger->latest];
}

uint64_t ledger_model_id(const struct ledger *ledger, const struct model *model)
{
    const struct ledger_slot *slot = ledger->is_void ? NULL : find_slot(ledger, model);
    return slot ? slot->id : 0;
}

void ledger_bind(struct ledger *ledger, uint64_t model_id, const struct model *model)
{
    for (size_t i = 0; i < LEDGER_MODELS_MAX; i++)
        if (ledger->slots[i].id == model_id)
            ledger->slots[i].model = model;
}

/* A definition that is in the file already, and whose records have their memory. */
struct ledger_draft {
    struct ledger_slot region;
    uint64_t definition_bytes;
    uint32_t crc;
};

/* Takes a region for the definition, and writes the definition there. */
static int write_draft(struct ledger *ledger, const struct definition *definition,
                       struct ledger_draft *draft)
{
    struct ledger_slot *region = &draft->region, relative;
    int r = ledger_definition_measure(definition, &draft->definition_bytes);
    if (r == 0)
        r = ledger_lay_out(0, draft->definition_bytes, definition->n_layers, &relative);
    if (r < 0)
        return r;
    uint64_t begin_bytes = atomic_fetch_add(&ledger->end_bytes, relative.end_bytes);
    r = ledger_lay_out(begin_bytes, draft->definition_bytes, definition->n_layers, region);
    if (r == 0)
        r = ledger_definition_write(ledger->fd, begin_bytes, definition, &draft->definition_bytes,
                                    &draft->crc);
    /* Obtains the memory for the records now, so that no later step lacks it. */
    while (r == 0 && fallocate(ledger->fd, 0, (off_t)region->records_bytes,
                               (off_t)(region->end_bytes - region->records_bytes)) < 0)
        if (errno != EINTR)
            r = -errno;
    return r;
}

static void give_back(const struct ledger *ledger, const struct ledger_slot *region)
{
    /* If this fails, the next recovery returns the memory. */
    if (region->end_bytes > region->begin_bytes)
        (void)fallocate(ledger->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        (off_t)region->begin_bytes,
                        (off_t)(region->end_bytes - region->begin_bytes));
}

struct ledger_draft *ledger_draft_drop(struct ledger *ledger, struct ledger_draft *draft)
{
    if (draft)
        give_back(ledger, &draft->region);
    free(draft);
    return NULL;
}

struct ledger_draft *ledger_draft(struct ledger *ledger, const struct definition *definition)
{
    struct ledger_draft *draft = calloc(1, sizeof *draft);
    return draft && write_draft(ledger, definition, draft) < 0 ? ledger_draft_drop(ledger, draft)
                                                               : draft;
}

static int add_model(struct ledger *ledger, struct ledger_slot *slot, const struct model *model,
                     const struct ledger_draft *draft)
{
    struct ledger_record record = {
        .kind = LEDGER_MODEL,
        .state = LEDGER_PRESENT,
        .model = ledger->step + 1,
        .model_ = {.begin_bytes = draft->region.begin_bytes,
                   .definition_bytes = draft->definition_bytes,
                   .end_bytes = draft->region.end_bytes,
                   .definition_crc = draft->crc,
                   .n_layers = model->definition->n_layers},
    };
    int r = write_record(ledger, ledger_model_place((size_t)(slot - ledger->slots)), &record);
    if (r < 0)
        return r;
    *slot = draft->region;
    slot->model = model;
    slot->id = record.model;
    return 0;
}

static int use_draft(struct ledger *ledger, const struct model *model,
                     const struct ledger_draft *draft)
{
    for (size_t i = 0; i < LEDGER_MODELS_MAX; i++)
        if (ledger->slots[i].id == 0)
            return add_model(ledger, &ledger->slots[i], model, draft);
    return -EXFULL;
}

int ledger_add_drafted(struct ledger *ledger, const struct model *model, struct ledger_draft *draft)
{
    int r = ledger->is_void ? 0 : end_step(ledger, use_draft(ledger, model, draft));
    free(draft);
    return r;
}

int ledger_add_model(struct ledger *ledger, const struct model *model)
{
    struct ledger_draft draft = {0};
    if (ledger->is_void)
        return 0;
    int r = write_draft(ledger, model->definition, &draft);
    return end_step(ledger, r < 0 ? r : use_draft(ledger, model, &draft));
}

int ledger_remove_model(struct ledger *ledger, const struct model *model)
{
    if (ledger->is_void)
        return 0;
    struct ledger_slot *slot = use_slot(ledger, model);
    struct ledger_record record = {.kind = LEDGER_MODEL, .state = LEDGER_ABSENT, .model = slot->id};
    int r = write_record(ledger, ledger_model_place((size_t)(slot - ledger->slots)), &record);
    if (r == 0)
        give_back(ledger, slot);
    *slot = (struct ledger_slot){0};
    return end_step(ledger, r);
}

/* A `fill_id` of 0 means that the layer is absent. */
static int write_layer(struct ledger *ledger, const struct layer *layer, uint64_t fill_id,
                       uint32_t n_leases, bool is_mapped)
{
    enum ledger_record_state state = fill_id == 0    ? LEDGER_ABSENT
                                     : n_leases == 0 ? LEDGER_PRESENT
                                     : is_mapped     ? LEDGER_MAPPED
                                                     : LEDGER_LEASED;
    const struct ledger_slot *slot = use_slot(ledger, layer->model);
    struct ledger_record record = {.kind = LEDGER_LAYER, .state = (uint8_t)state};
    record.n_leases = (uint16_t)(n_leases < LEDGER_LEASES_MAX ? n_leases : LEDGER_LEASES_MAX);
    record.model = slot->id;
    record.layer.index = layer->index;
    if (state != LEDGER_ABSENT) {
        record.layer.epoch = ledger->epoch;
        record.layer.fill_id = fill_id;
        record.layer.first_page = layer->allocation.first_page;
        record.layer.n_pages = layer->allocation.n_pages;
        record.layer.n_extents = (uint32_t)allocation_n_extents(&layer->allocation);
    }
    return end_step(ledger, write_record(ledger, ledger_layer_place(slot, layer->index), &record));
}

/* A block of the file with the links of consecutive pages, while some of them are changed. */
struct link_block {
    uint64_t offset_bytes; /* 0: none */
    struct ledger_link links[LEDGER_BLOCK_BYTES / sizeof(struct ledger_link)];
};

static int end_block(const struct ledger *ledger, const struct link_block *block)
{
    return block->offset_bytes == 0
               ? 0
               : ledger_write(ledger->fd, block->offset_bytes, block->links, sizeof block->links);
}

/* Writes the links block by block, because a layer may have very many small extents. The other
 * links of a block are written as they were. A layer in one extent needs no links. */
static int write_links(struct ledger *ledger, const struct allocation *allocation, uint64_t fill_id)
{
    const struct extent *end = allocation_end(allocation);
    struct link_block block = {0};
    int r = 0;
    for (const struct extent *extent = allocation_extents(allocation);
         allocation->several && extent < end && r == 0; extent++) {
        uint64_t place = ledger_link_place(extent->first_page), within = place % LEDGER_BLOCK_BYTES;
        struct ledger_link link = {
            .fill_id = fill_id,
            .n_pages = extent->n_pages,
            .next_page = extent + 1 < end ? extent[1].first_page : UINT64_MAX,
        };
        link.crc = ledger_link_crc(&link, place);
        if (place - within != block.offset_bytes) {
            r = end_block(ledger, &block);
            block.offset_bytes = place - within;
            if (r == 0)
                r = ledger_read(ledger->fd, block.offset_bytes, block.links, sizeof block.links);
        }
        block.links[within / sizeof link] = link;
    }
    return r < 0 ? r : end_block(ledger, &block);
}

int ledger_loaded(struct ledger *ledger, const struct layer *layer, uint64_t fill_id)
{
    if (ledger->is_void)
        return 0;
    int r = write_links(ledger, &layer->allocation, fill_id);
    if (r < 0)
        return end_step(ledger, r);
    if (ledger->last_fill_id < fill_id)
        ledger->last_fill_id = fill_id;
    ledger->loaded_bytes += layer_definition(layer)->bytes;
    return write_layer(ledger, layer, fill_id, 0, false);
}

int ledger_evicted(struct ledger *ledger, const struct layer *layer)
{
    return ledger->is_void ? 0 : write_layer(ledger, layer, 0, 0, false);
}

int ledger_leased(struct ledger *ledger, const struct layer *layer, uint64_t fill_id,
                  uint32_t n_leases, bool is_mapped)
{
    return ledger->is_void ? 0 : write_layer(ledger, layer, fill_id, n_leases, is_mapped);
}

int ledger_flushed(struct ledger *ledger)
{
    return ledger->is_void ? 0 : end_step(ledger, write_epoch(ledger, ledger->epoch + 1));
}
