/* Owns what a ledger's file says: reads all of it, checks all of it, and hands it over whole or not
 * at all. Leaves the layers to ledger_layers.c.
 *
 * A process that died left at most one place half written: the older of the last two steps, or the
 * record of the newer one. Recovery writes that record again. Any other failed check means that the
 * file is damaged, and a damaged file is not used at all. */
#include "common/page.h"
#include "daemon/restart/ledger_definition.h"
#include "daemon/restart/ledger_layers.h"
#include "daemon/scheduler/scheduler.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert((int)SCHEDULER_MODELS_MAX <= (int)LEDGER_MODELS_MAX, "one slot a model");

static int check_header(const struct ledger_reading *reading)
{
    struct ledger_header header, expected;
    int r = ledger_read(reading->ledger->fd, 0, &header, sizeof header);
    if (r == -EBADMSG || (r == 0 && header.magic != LEDGER_MAGIC))
        return ledger_refuse(reading, -EBADMSG, "the file is no ledger, or the ledger is void");
    if (r < 0)
        return r;
    if (header.version != LEDGER_VERSION)
        return ledger_refuse(reading, -ESTALE,
                             "the ledger has format %" PRIu32 ", this program has %d",
                             header.version, LEDGER_VERSION);
    if (header.crc != ledger_header_crc(&header))
        return ledger_refuse(reading, -EBADMSG, "the ledger's header is damaged");
    r = ledger_make_header(reading->arena, &expected);
    if (r < 0)
        return r;
    if (header.device != expected.device || header.inode != expected.inode)
        return ledger_refuse(reading, -ESTALE, "the ledger belongs to another arena");
    if (header.capacity_bytes != expected.capacity_bytes)
        return ledger_refuse(reading, -ESTALE,
                             "the capacity was %" PRIu64 " bytes and is now %" PRIu64,
                             header.capacity_bytes, expected.capacity_bytes);
    if (header.page_bytes != expected.page_bytes || header.backing != expected.backing)
        return ledger_refuse(reading, -ESTALE, "the arena's backing has changed");
    if (header.crc != expected.crc)
        return ledger_refuse(reading, -EBADMSG, "the ledger's header is damaged");
    return 0;
}

/* Whether `place` can be the place of a record. If not, the last step is damaged. */
static bool is_place(const struct ledger_reading *reading, uint64_t place)
{
    if (place % sizeof(struct ledger_record) != 0)
        return false;
    return place == LEDGER_EPOCH_OFFSET ||
           (place >= LEDGER_MODELS_OFFSET && place < LEDGER_EXTENTS_OFFSET) ||
           (place >= reading->regions_bytes && place <= reading->file_bytes &&
            reading->file_bytes - place >= sizeof(struct ledger_record));
}

/* Finds the last step, and finishes it if its record was left unwritten or half written. */
static int finish_last_step(const struct ledger_reading *reading)
{
    struct ledger *ledger = reading->ledger;
    struct ledger_step steps[2];
    bool is_good[2], is_empty[2];
    for (unsigned i = 0; i < 2; i++) {
        int r = ledger_read(ledger->fd, ledger_step_place(i), &steps[i], sizeof steps[i]);
        if (r < 0)
            return r;
        is_empty[i] = ledger_is_zero(&steps[i], sizeof steps[i]);
        is_good[i] = !is_empty[i] && (steps[i].record.step & 1) == i &&
                     steps[i].crc == ledger_step_crc(&steps[i]) &&
                     steps[i].record.crc == ledger_record_crc(&steps[i].record, steps[i].place);
    }
    if (!is_good[0] && !is_good[1])
        return ledger_refuse(reading, -EBADMSG, "the ledger's last steps are damaged");
    unsigned newest =
        is_good[0] && is_good[1] ? steps[0].record.step < steps[1].record.step : is_good[1];
    const struct ledger_step *last = &steps[newest], *before = &steps[!newest];
    if (is_good[!newest] ? before->record.step + 1 != last->record.step
                         : is_empty[!newest] && last->record.step != 1)
        return ledger_refuse(reading, -EBADMSG, "the ledger's last steps do not follow each other");
    if (!is_place(reading, last->place))
        return ledger_refuse(reading, -EBADMSG, "the ledger's last step is damaged");
    if (last->record.step > LEDGER_COUNT_MAX || last->last_fill_id > LEDGER_COUNT_MAX)
        return ledger_refuse(reading, -EBADMSG, "the ledger cannot have counted so many steps");
    ledger->step = last->record.step;
    ledger->last_fill_id = last->last_fill_id;
    ledger->loaded_bytes = last->loaded_bytes;

    struct ledger_record record;
    int r = ledger_read(ledger->fd, last->place, &record, sizeof record);
    if (r < 0 || memcmp(&record, &last->record, sizeof record) == 0)
        return r;
    /* A step begins only when the step before it has ended. So if a newer step was begun, this
     * record was complete, and it is damaged now. */
    if (!is_good[!newest] && !is_empty[!newest])
        return ledger_refuse(reading, -EBADMSG, "two of the ledger's records are damaged");
    if (record.crc == ledger_record_crc(&record, last->place) && record.step >= ledger->step)
        return ledger_refuse(reading, -EBADMSG, "a record in the ledger contradicts the last step");
    return ledger_write(ledger->fd, last->place, &last->record, sizeof last->record);
}

static int read_epoch(const struct ledger_reading *reading)
{
    struct ledger_record record;
    int r = ledger_read(reading->ledger->fd, LEDGER_EPOCH_OFFSET, &record, sizeof record);
    if (r == 0)
        r = ledger_check_record(reading, &record, LEDGER_EPOCH_OFFSET, LEDGER_EPOCH);
    if (r == 0)
        return ledger_refuse(reading, -EBADMSG, "the ledger has no epoch");
    if (r > 0 && record.epoch > LEDGER_COUNT_MAX)
        return ledger_refuse(reading, -EBADMSG, "the ledger cannot have counted so many epochs");
    reading->ledger->epoch = r > 0 ? record.epoch : 0;
    return r < 0 ? r : 0;
}

/* Reads a slot's record: a model, or a note that the slot is free. */
static int read_model(const struct ledger_reading *reading, size_t slot,
                      const struct ledger_record *record)
{
    struct ledger *ledger = reading->ledger;
    struct ledger_recovery *recovery = reading->recovery;
    struct ledger_slot region;
    int r = ledger_check_record(reading, record, ledger_model_place(slot), LEDGER_MODEL);
    if (r <= 0 || record->state == LEDGER_ABSENT)
        return r < 0 ? r : 0;
    if (record->state != LEDGER_PRESENT || record->model != record->step ||
        record->model_.begin_bytes < reading->regions_bytes ||
        record->model_.begin_bytes % system_page_bytes() != 0 ||
        ledger_lay_out(record->model_.begin_bytes, record->model_.definition_bytes,
                       record->model_.n_layers, &region) < 0 ||
        region.end_bytes != record->model_.end_bytes || region.end_bytes > reading->file_bytes)
        return ledger_refuse(reading, -EBADMSG, "the ledger's record of model %" PRIu64 " is wrong",
                             record->model);

    struct ledger_recovered_model *model = &recovery->models[recovery->n_models];
    r = ledger_definition_read(ledger->fd, region.begin_bytes, record->model_.definition_bytes,
                               record->model_.definition_crc, &model->definition, &model->sources);
    if (r < 0)
        return r == -EBADMSG
                   ? ledger_refuse(reading, r,
                                   "the ledger's definition of model %" PRIu64 " is damaged",
                                   record->model)
                   : r;
    recovery->n_models++;
    model->id = record->model;
    ledger->slots[slot] = region;
    ledger->slots[slot].id = record->model;
    if (model->definition->n_layers != record->model_.n_layers)
        return ledger_refuse(reading, -EBADMSG,
                             "the ledger gives two numbers of layers for model %" PRIu64,
                             record->model);
    return 0;
}

static int compare_models(const void *a, const void *b)
{
    const struct ledger_recovered_model *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int compare_regions(const void *a, const void *b)
{
    const struct ledger_slot *const *x = a, *const *y = b;
    return ((*x)->begin_bytes > (*y)->begin_bytes) - ((*x)->begin_bytes < (*y)->begin_bytes);
}

/* The models' regions in the order of their places, which need not be that of the models, because a
 * draft gets its place before its model is added. */
static void list_regions(struct ledger_reading *reading)
{
    const struct ledger_recovery *recovery = reading->recovery;
    for (size_t i = 0; i < recovery->n_models; i++)
        reading->regions[i] = ledger_slot_of(reading->ledger, recovery->models[i].id);
    qsort(reading->regions, recovery->n_models, sizeof *reading->regions, compare_regions);
}

/* Checks that the names differ, and that no two regions overlap. */
static int check_models(struct ledger_reading *reading)
{
    const struct ledger_recovery *recovery = reading->recovery;
    uint64_t end_bytes = reading->regions_bytes, n_layers = 0;
    list_regions(reading);
    for (size_t i = 0; i < recovery->n_models; i++) {
        const struct ledger_recovered_model *model = &recovery->models[i];
        n_layers += model->definition->n_layers;
        if (reading->regions[i]->begin_bytes < end_bytes || n_layers > SCHEDULER_LAYERS_MAX)
            return ledger_refuse(reading, -EBADMSG, "the ledger's models overlap, or are too many");
        end_bytes = reading->regions[i]->end_bytes;
        for (size_t j = 0; j < i; j++)
            if (strcmp(recovery->models[j].definition->name, model->definition->name) == 0)
                return ledger_refuse(reading, -EBADMSG,
                                     "two of the ledger's models have the same name");
    }
    reading->ledger->end_bytes = end_bytes;
    return 0;
}

static int read_models(struct ledger_reading *reading)
{
    struct ledger_recovery *recovery = reading->recovery;
    int r = 0;
    _Static_assert((int)LEDGER_MODELS_MAX <= (int)LEDGER_BATCH, "all of them at once");
    r = ledger_read(reading->ledger->fd, LEDGER_MODELS_OFFSET, reading->batch,
                    LEDGER_MODELS_MAX * sizeof *reading->batch);
    recovery->models = calloc(LEDGER_MODELS_MAX, sizeof *recovery->models);
    if (r == 0 && !recovery->models)
        r = -ENOMEM;
    for (size_t i = 0; i < LEDGER_MODELS_MAX && r == 0; i++)
        r = read_model(reading, i, &reading->batch[i]);
    if (r < 0)
        return r;
    qsort(recovery->models, recovery->n_models, sizeof *recovery->models, compare_models);
    return check_models(reading);
}

/* Returns to the system the memory that unfinished steps and removed models left behind. */
static int give_back(const struct ledger_reading *reading)
{
    const struct ledger *ledger = reading->ledger;
    uint64_t end_bytes = reading->regions_bytes;
    for (size_t i = 0; i < reading->recovery->n_models; i++) {
        const struct ledger_slot *slot = reading->regions[i];
        if (slot->begin_bytes > end_bytes)
            (void)fallocate(ledger->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            (off_t)end_bytes, (off_t)(slot->begin_bytes - end_bytes));
        end_bytes = slot->end_bytes;
    }
    return ftruncate(ledger->fd, (off_t)end_bytes) < 0 ? -errno : 0;
}

static int read_all(struct ledger_reading *reading)
{
    struct ledger *ledger = reading->ledger;
    struct ledger_recovery *recovery = reading->recovery;
    struct stat status;
    int r = ledger_regions_offset(reading->arena, &reading->regions_bytes);
    if (r == 0)
        r = fstat(ledger->fd, &status) < 0 ? -errno : check_header(reading);
    if (r < 0)
        return r;
    r = ledger_lock(ledger->fd);
    if (r == -EBUSY)
        return ledger_refuse(reading, r, "an earlier process has not ended yet");
    if (r < 0)
        return r;
    reading->file_bytes = (uint64_t)status.st_size;
    if (reading->file_bytes < reading->regions_bytes)
        return ledger_refuse(reading, -EBADMSG, "the ledger was cut short");
    if ((r = finish_last_step(reading)) < 0 || (r = read_epoch(reading)) < 0 ||
        (r = read_models(reading)) < 0)
        return r;
    for (uint32_t i = 0; i < recovery->n_models && r == 0; i++)
        r = ledger_read_layers(reading, i);
    if (r < 0)
        return r;
    r = ledger_read_extents(reading);
    if (r < 0)
        return r;
    recovery->last_fill_id = ledger->last_fill_id;
    recovery->loaded_bytes = ledger->loaded_bytes;
    return give_back(reading);
}

int ledger_recover(int fd, const struct ledger_arena *arena, struct ledger **ret,
                   struct ledger_recovery **ret_recovery, char ret_why[static LEDGER_WHY_MAX])
{
    _cleanup_(closep) int owned = fd;
    _cleanup_(ledger_freep) struct ledger *ledger = calloc(1, sizeof *ledger);
    _cleanup_(ledger_recovery_freep) struct ledger_recovery *recovery = calloc(1, sizeof *recovery);
    _cleanup_(freep) struct ledger_reading *reading = calloc(1, sizeof *reading);
    int r = -ENOMEM;
    ret_why[0] = '\0';
    if (ledger && recovery && reading) {
        ledger->fd = TAKE_FD(owned);
        reading->ledger = ledger;
        reading->recovery = recovery;
        reading->arena = arena;
        reading->why = ret_why;
        r = read_all(reading);
        free(reading->found);
    } else if (ledger) {
        ledger->fd = -1;
    }
    if (r < 0) {
        if (ret_why[0] == '\0')
            snprintf(ret_why, LEDGER_WHY_MAX, "cannot read the ledger: %s", strerror(-r));
        return r;
    }
    *ret = TAKE_PTR(ledger);
    *ret_recovery = TAKE_PTR(recovery);
    return 0;
}
