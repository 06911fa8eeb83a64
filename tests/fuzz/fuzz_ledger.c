/* The input changes a good ledger: it is a byte that says which checksums are made right again, and
 * then patches, each a byte that chooses a part of the file, two bytes for the place in it, a byte
 * for the length, and the new bytes. Whatever the file then says is refused, or keeps the promises
 * of ledger.h and can be recovered again. */
#include "daemon/restart/crc32c.h"
#include "daemon/restart/ledger_file.h"
#include "daemon/weights/model_parse.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096, PAGES = 12, MODELS = 2, PATCH_BYTES_MAX = 16 };
enum {
    MEND_HEADER = 1,
    MEND_STEPS = 2,
    MEND_MODELS = 4,
    MEND_LAYERS = 8,
    MEND_LINKS = 16,
    MEND_DEFINITIONS = 32
};

/* The file in memory, and the arena that it is about. */
struct image {
    unsigned char *at;
    size_t n_bytes;
    struct ledger_arena arena;
};

static struct model *make_model(struct model_source source)
{
    struct model_read_result result;

    REQUIRE(model_parse(&source, &result) == 0);
    model_source_done(&source);
    struct model *model = model_new(result.definition);
    REQUIRE(model);
    definition_unref(result.definition);
    return model;
}

/* A model with a weight file. */
static struct model *make_weighted(void)
{
    static const char header[] =
        "{\"a.0.w\":{\"dtype\":\"U8\",\"shape\":[7000],\"data_offsets\":[0,7000]},"
        "\"a.1.w\":{\"dtype\":\"F16\",\"shape\":[30,50],\"data_offsets\":[7000,10000]},"
        "\"a.1.v\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[10000,10001]}}";
    uint64_t n_header = sizeof header - 1;
    struct model_source source = MODEL_SOURCE_NONE;

    source.fd = memfd_create("weights", MFD_CLOEXEC);
    REQUIRE(ftruncate(source.fd, (off_t)(8 + n_header + 10001)) == 0);
    REQUIRE(pwrite(source.fd, &n_header, 8, 0) == 8);
    REQUIRE(pwrite(source.fd, header, n_header, 8) == (ssize_t)n_header);
    source.name = strdup("weighted");
    return make_model(source);
}

static struct model *make_sized(void)
{
    static const char text[] = "{\"name\":\"sized\",\"layers\":[{\"name\":\"x\",\"bytes\":4096},"
                               "{\"name\":\"y\",\"bytes\":9000},{\"name\":\"z\",\"bytes\":100}]}";
    struct model_source source = MODEL_SOURCE_NONE;

    source.text = strdup(text);
    source.n_bytes = sizeof text - 1;
    return make_model(source);
}

static void load(struct ledger *ledger, struct arena *arena, struct layer *layer, uint64_t fill_id)
{
    uint64_t n_pages;

    REQUIRE(arena_footprint(arena, layer_definition(layer)->bytes,
                            layer_definition(layer)->shift_bytes, &n_pages) == 0);
    REQUIRE(arena_alloc(arena, n_pages, &layer->allocation) == 0);
    REQUIRE(ledger_loaded(ledger, layer, fill_id) == 0);
}

static void evict(struct ledger *ledger, struct arena *arena, struct layer *layer)
{
    arena_release(arena, &layer->allocation);
    REQUIRE(ledger_evicted(ledger, layer) == 0);
}

/* A ledger with some of everything: evicted and leased layers, and one in two extents. */
static void make_image(struct image *image)
{
    struct ledger *ledger;
    struct arena *arena;
    struct stat status;

    image->arena = (struct ledger_arena){memfd_create("arena", MFD_CLOEXEC), PAGE, PAGES * PAGE, 7};
    REQUIRE(arena_new(PAGES * PAGE, PAGE, &arena) == 0 && ledger_new(&image->arena, &ledger) == 0);
    struct model *models[MODELS] = {make_sized(), make_weighted()};
    for (int i = 0; i < MODELS; i++)
        REQUIRE(ledger_add_model(ledger, models[i]) == 0);
    load(ledger, arena, &models[0]->layers[0], 1);
    load(ledger, arena, &models[1]->layers[0], 2);
    load(ledger, arena, &models[0]->layers[2], 3);
    REQUIRE(ledger_leased(ledger, &models[1]->layers[0], 2, 3, true) == 0);
    REQUIRE(ledger_flushed(ledger) == 0);
    arena_release(arena, &models[0]->layers[0].allocation);
    arena_release(arena, &models[0]->layers[2].allocation);
    load(ledger, arena, &models[1]->layers[1], 4);
    load(ledger, arena, &models[0]->layers[1], 5);
    load(ledger, arena, &models[0]->layers[2], 6);
    evict(ledger, arena, &models[0]->layers[2]);
    REQUIRE(fstat(ledger_fd(ledger), &status) == 0);
    image->n_bytes = (size_t)status.st_size;
    image->at = malloc(image->n_bytes);
    REQUIRE(pread(ledger_fd(ledger), image->at, image->n_bytes, 0) == status.st_size);
    ledger_free(ledger);
    for (int i = 0; i < MODELS; i++)
        model_free(models[i], arena);
    arena_free(arena);
}

/* Where a part of the file begins. */
static uint64_t part_begin(const struct image *image, unsigned part)
{
    const struct ledger_record *records =
        (const struct ledger_record *)(const void *)(image->at + LEDGER_MODELS_OFFSET);
    const struct ledger_record *model = &records[part & 1];
    struct ledger_slot slot;

    switch (part % 8) {
    case 0:
        return 0;
    case 1:
        return LEDGER_STEPS_OFFSET;
    case 2:
    case 3:
        return LEDGER_MODELS_OFFSET;
    case 4:
        return LEDGER_EXTENTS_OFFSET;
    case 5:
        return model->model_.begin_bytes;
    default:
        if (ledger_lay_out(model->model_.begin_bytes, model->model_.definition_bytes,
                           model->model_.n_layers, &slot) < 0)
            return 0;
        return slot.records_bytes;
    }
}

static void patch(struct image *image, const uint8_t *data, size_t n_bytes)
{
    while (n_bytes >= 5) {
        uint64_t place = part_begin(image, data[0]) + data[1] + 256u * (data[2] % 16);
        size_t n = 1 + data[3] % PATCH_BYTES_MAX;
        data += 4;
        n_bytes -= 4;
        if (n > n_bytes)
            n = n_bytes;
        if (place < image->n_bytes && n <= image->n_bytes - place)
            memcpy(image->at + place, data, n);
        data += n;
        n_bytes -= n;
    }
}

static bool fits(const struct image *image, uint64_t place, uint64_t n_bytes)
{
    return place <= image->n_bytes && n_bytes <= image->n_bytes - place;
}

static void mend_region(const struct image *image, struct ledger_record *model, unsigned what)
{
    struct ledger_slot slot;

    if (!fits(image, model->model_.begin_bytes, model->model_.definition_bytes) ||
        ledger_lay_out(model->model_.begin_bytes, model->model_.definition_bytes,
                       model->model_.n_layers, &slot) < 0)
        return;
    if (what & MEND_DEFINITIONS)
        model->model_.definition_crc =
            crc32c(0, image->at + slot.begin_bytes, model->model_.definition_bytes);
    for (uint32_t i = 0; what & MEND_LAYERS && i < model->model_.n_layers; i++) {
        uint64_t place = ledger_layer_place(&slot, i);
        if (!fits(image, place, sizeof(struct ledger_record)))
            return;
        struct ledger_record *layer = (struct ledger_record *)(void *)(image->at + place);
        if (layer->crc)
            layer->crc = ledger_record_crc(layer, place);
    }
}

static void mend(const struct image *image, unsigned what)
{
    struct ledger_header *header = (struct ledger_header *)(void *)image->at;
    struct ledger_record *models =
        (struct ledger_record *)(void *)(image->at + LEDGER_MODELS_OFFSET);
    struct ledger_link *links = (struct ledger_link *)(void *)(image->at + LEDGER_EXTENTS_OFFSET);
    struct ledger_record *epoch = (struct ledger_record *)(void *)(image->at + LEDGER_EPOCH_OFFSET);

    if (what & MEND_HEADER)
        header->crc = ledger_header_crc(header);
    for (size_t i = 0; i < MODELS; i++) {
        mend_region(image, &models[i], what);
        if (what & MEND_MODELS)
            models[i].crc = ledger_record_crc(&models[i], ledger_model_place(i));
    }
    for (size_t i = 0; what & MEND_LINKS && i < PAGES; i++)
        if (links[i].crc)
            links[i].crc = ledger_link_crc(&links[i], ledger_link_place(i));
    if (what & MEND_MODELS)
        epoch->crc = ledger_record_crc(epoch, LEDGER_EPOCH_OFFSET);
    for (size_t i = 0; what & MEND_STEPS && i < 2; i++) {
        struct ledger_step *step = (struct ledger_step *)(void *)(image->at + LEDGER_STEPS_OFFSET +
                                                                  i * LEDGER_STEP_STRIDE);
        step->record.crc = ledger_record_crc(&step->record, step->place);
        step->crc = ledger_step_crc(step);
    }
}

static void check_layer(const struct ledger_recovery *recovery, size_t index)
{
    const struct ledger_recovered_layer *layer = &recovery->layers[index];
    REQUIRE(layer->model < recovery->n_models);
    const struct definition *definition = recovery->models[layer->model].definition;
    REQUIRE(layer->index < definition->n_layers);
    const struct layer_definition *layer_definition = &definition->layers[layer->index];
    uint64_t n_pages = 0;

    for (size_t i = 0; i < recovery->n_extents; i++)
        if (recovery->extents[i].layer == index)
            n_pages += recovery->extents[i].n_pages;
    REQUIRE(n_pages == (layer_definition->bytes + layer_definition->shift_bytes + PAGE - 1) / PAGE);
}

static void check(const struct ledger_recovery *recovery)
{
    uint64_t end = 0;

    REQUIRE(recovery->n_models <= LEDGER_MODELS_MAX && recovery->n_layers <= PAGES);
    for (size_t i = 0; i < recovery->n_extents; i++) {
        const struct ledger_recovered_extent *extent = &recovery->extents[i];
        REQUIRE(extent->first_page >= end && extent->n_pages > 0 && extent->first_page < PAGES &&
                extent->n_pages <= PAGES - extent->first_page &&
                extent->layer < recovery->n_layers);
        end = extent->first_page + extent->n_pages;
    }
    for (size_t i = 0; i < recovery->n_layers; i++)
        check_layer(recovery, i);
}

/* Whether the steps of one life may take a forged ledger beyond what it may have counted. */
static bool nears_the_limit(const struct ledger *ledger)
{
    const uint64_t limit = LEDGER_COUNT_MAX - 2 * LEDGER_MODELS_MAX;
    return ledger->step > limit || ledger->epoch > limit || ledger->last_fill_id > limit;
}

/* Recovers as the next process does, goes on, and recovers again. */
static void recover(const struct image *image, int fd, bool is_first, bool may_be_refused)
{
    struct ledger *ledger = NULL;
    struct ledger_recovery *recovery = NULL;
    char why[LEDGER_WHY_MAX];
    int again = dup(fd);

    int r = ledger_recover(fd, &image->arena, &ledger, &recovery, why);
    REQUIRE((r == 0) == (why[0] == '\0') && memchr(why, '\0', sizeof why));
    REQUIRE(r == 0 || may_be_refused);
    if (r == 0) {
        may_be_refused = nears_the_limit(ledger);
        check(recovery);
        struct model *models[LEDGER_MODELS_MAX];
        for (size_t i = 0; i < recovery->n_models; i++) {
            models[i] = model_new(recovery->models[i].definition);
            REQUIRE(models[i]);
            ledger_bind(ledger, recovery->models[i].id, models[i]);
        }
        if (is_first) {
            REQUIRE(ledger_flushed(ledger) == 0);
            for (size_t i = 1; i < recovery->n_models; i++)
                REQUIRE(ledger_remove_model(ledger, models[i]) == 0);
        }
        for (size_t i = 0; i < recovery->n_models; i++)
            model_free(models[i], NULL);
        ledger_recovery_free(recovery);
        ledger_free(ledger);
    }
    if (r == 0 && is_first)
        recover(image, again, false, may_be_refused);
    else
        close(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static struct image good;

    if (!good.at)
        make_image(&good);
    if (n_bytes == 0)
        return 0;
    struct image image = good;
    image.at = malloc(image.n_bytes);
    REQUIRE(image.at);
    memcpy(image.at, good.at, image.n_bytes);
    patch(&image, data + 1, n_bytes - 1);
    mend(&image, data[0]);
    int fd = memfd_create("ledger", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && write(fd, image.at, image.n_bytes) == (ssize_t)image.n_bytes);
    free(image.at);
    recover(&image, fd, true, true);
    return 0;
}
