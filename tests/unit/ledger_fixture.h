/* A ledger with an arena, some models, and the content that the ledger must have; and a replacement
 * of pwrite, with which a test can check the file while a step is written. */
#pragma once

#include "daemon/restart/ledger.h"
#include "tests/unit/define.h"
#include "tests/unit/weight_bytes.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { PAGE = 4096, MODELS = 4, LAYERS = 8, EXTENTS = 24 };

/* The state that the next process must find. */
struct expected {
    struct expected_model {
        bool is_there;
        struct expected_layer {
            uint64_t fill_id; /* 0: absent */
            uint32_t n_leases;
            bool is_mapped; /* all of them */
            uint64_t order; /* of its last step among those of all layers */
            size_t n_extents;
            uint64_t first_pages[EXTENTS], n_pages[EXTENTS];
        } layers[LAYERS];
    } models[MODELS];
    uint64_t last_fill_id, loaded_bytes;
};

struct world {
    int arena_fd;
    struct arena *arena;
    struct ledger_arena identity;
    struct ledger *ledger;
    struct model *models[MODELS];
    struct expected before, now; /* the last step */
    uint64_t n_steps;
};

static struct {
    int fd;                 /* whose writes are looked at; -1: none */
    _Atomic uint64_t count; /* of its writes, by any thread */
    int n_left;             /* then they fail with ENOSPC; negative: never */
    void (*look)(const void *bytes, size_t n_bytes, uint64_t offset_bytes, void *context);
    void *context;
} writes = {.fd = -1, .n_left = -1};

ssize_t pwrite(int fd, const void *bytes, size_t n_bytes, off_t offset_bytes)
{
    struct iovec vector = {(void *)(uintptr_t)bytes, n_bytes};
    if (fd == writes.fd && fd >= 0) {
        writes.count++;
        if (writes.n_left == 0) {
            errno = ENOSPC;
            return -1;
        }
        if (writes.n_left > 0)
            writes.n_left--;
        if (writes.look)
            writes.look(bytes, n_bytes, (uint64_t)offset_bytes, writes.context);
    }
    return pwritev(fd, &vector, 1, offset_bytes);
}

static inline void watch_writes(struct world *world)
{
    writes.fd = ledger_fd(world->ledger);
    writes.count = 0;
    writes.n_left = -1;
    writes.look = NULL;
}

static inline void world_init(struct world *world, uint64_t n_pages)
{
    *world = (struct world){.arena_fd = memfd_create("arena", MFD_CLOEXEC)};
    REQUIRE(world->arena_fd >= 0);
    world->identity = (struct ledger_arena){world->arena_fd, PAGE, n_pages * PAGE, 7};
    REQUIRE(arena_new(n_pages * PAGE, PAGE, &world->arena) == 0);
    REQUIRE(ledger_new(&world->identity, &world->ledger) == 0);
    watch_writes(world);
}

static inline void world_done(struct world *world)
{
    writes.fd = -1;
    for (size_t i = 0; i < MODELS; i++)
        model_free(world->models[i], world->arena);
    ledger_free(world->ledger);
    arena_free(world->arena);
    close(world->arena_fd);
}

static inline struct layer *layer_at(struct world *world, unsigned model, unsigned layer)
{
    return &world->models[model]->layers[layer];
}

/* Prepares a step: `now` is the state after the step. */
static inline struct expected *begin(struct world *world)
{
    world->before = world->now;
    world->n_steps++;
    return &world->now;
}

/* Layer i of model "mN" has `pages[i]` pages, its weights a byte less. */
static inline void add(struct world *world, unsigned model, const uint64_t *pages, uint32_t n)
{
    uint64_t bytes[LAYERS];
    char name[16];
    REQUIRE(n <= LAYERS);
    for (uint32_t i = 0; i < n; i++)
        bytes[i] = pages[i] * PAGE - 1;
    snprintf(name, sizeof name, "m%u", model);
    _cleanup_(definition_unrefp) struct definition *definition = define(name, bytes, n);
    world->models[model] = model_new(definition);
    REQUIRE(world->models[model]);
    begin(world)->models[model].is_there = true;
    REQUIRE(ledger_add_model(world->ledger, world->models[model]) == 0);
}

static inline void drop(struct world *world, unsigned model)
{
    begin(world)->models[model] = (struct expected_model){0};
    REQUIRE(ledger_remove_model(world->ledger, world->models[model]) == 0);
    world->models[model] = model_free(world->models[model], world->arena);
}

/* False if the arena has no room. */
static inline bool load(struct world *world, unsigned model, unsigned index)
{
    struct layer *layer = layer_at(world, model, index);
    uint64_t n_pages;
    REQUIRE(arena_footprint(world->arena, layer_definition(layer)->bytes, 0, &n_pages) == 0);
    if (arena_alloc(world->arena, n_pages, &layer->allocation) < 0)
        return false;
    struct expected *now = begin(world);
    struct expected_layer *expected = &now->models[model].layers[index];
    *expected = (struct expected_layer){.fill_id = ++now->last_fill_id, .order = world->n_steps};
    for (const struct extent *extent = allocation_extents(&layer->allocation),
                             *end = allocation_end(&layer->allocation);
         extent < end; extent++) {
        REQUIRE(expected->n_extents < EXTENTS);
        expected->first_pages[expected->n_extents] = extent->first_page;
        expected->n_pages[expected->n_extents++] = extent->n_pages;
    }
    now->loaded_bytes += layer_definition(layer)->bytes;
    REQUIRE(ledger_loaded(world->ledger, layer, expected->fill_id) == 0);
    return true;
}

/* The pages are free when the ledger is informed, as with the scheduler. */
static inline void evict(struct world *world, unsigned model, unsigned index)
{
    struct layer *layer = layer_at(world, model, index);
    arena_release(world->arena, &layer->allocation);
    begin(world)->models[model].layers[index] = (struct expected_layer){0};
    REQUIRE(ledger_evicted(world->ledger, layer) == 0);
}

static inline void lease_mapped(struct world *world, unsigned model, unsigned index,
                                uint32_t n_leases, bool is_mapped)
{
    struct expected_layer *expected = &begin(world)->models[model].layers[index];
    expected->n_leases = n_leases;
    expected->is_mapped = n_leases > 0 && is_mapped;
    expected->order = world->n_steps;
    struct layer *layer = layer_at(world, model, index);
    REQUIRE(ledger_leased(world->ledger, layer, expected->fill_id, n_leases, is_mapped) == 0);
}

static inline void lease(struct world *world, unsigned model, unsigned index, uint32_t n_leases)
{
    lease_mapped(world, model, index, n_leases, false);
}

static inline void flush(struct world *world)
{
    struct expected *now = begin(world);
    for (unsigned i = 0; i < MODELS; i++)
        for (unsigned j = 0; j < LAYERS; j++)
            if (now->models[i].layers[j].fill_id && now->models[i].layers[j].n_leases == 0) {
                arena_release(world->arena, &layer_at(world, i, j)->allocation);
                now->models[i].layers[j] = (struct expected_layer){0};
            }
    REQUIRE(ledger_flushed(world->ledger) == 0);
}

/* Whether a recovery finds exactly this state. */
static inline bool says(const struct ledger_recovery *recovery, const struct expected *expected)
{
    size_t n_models = 0, n_layers = 0, n_extents = 0;
    uint64_t order = 0;
    unsigned numbers[MODELS];

    if (recovery->last_fill_id != expected->last_fill_id ||
        recovery->loaded_bytes != expected->loaded_bytes || recovery->n_models > MODELS)
        return false;
    for (size_t i = 0; i < recovery->n_models; i++) {
        numbers[i] = (unsigned)(recovery->models[i].definition->name[1] - '0');
        if (!expected->models[numbers[i]].is_there)
            return false;
    }
    for (size_t i = 0; i < recovery->n_layers; i++) {
        const struct ledger_recovered_layer *layer = &recovery->layers[i];
        const struct expected_layer *other =
            &expected->models[numbers[layer->model]].layers[layer->index];
        size_t n = 0;
        if (layer->fill_id != other->fill_id || layer->n_leases != other->n_leases ||
            layer->is_mapped != other->is_mapped || other->order <= order)
            return false;
        order = other->order;
        for (size_t j = 0; j < recovery->n_extents; j++) {
            const struct ledger_recovered_extent *extent = &recovery->extents[j];
            if (extent->layer != i)
                continue;
            if (n == other->n_extents || extent->first_page != other->first_pages[n] ||
                extent->n_pages != other->n_pages[n])
                return false;
            n++;
        }
        if (n != other->n_extents)
            return false;
    }
    for (unsigned i = 0; i < MODELS; i++) {
        n_models += expected->models[i].is_there;
        for (unsigned j = 0; j < LAYERS; j++) {
            n_layers += expected->models[i].layers[j].fill_id != 0;
            n_extents += expected->models[i].layers[j].n_extents;
        }
    }
    return recovery->n_models == n_models && recovery->n_layers == n_layers &&
           recovery->n_extents == n_extents;
}

/* A ledger's file in memory. */
struct image {
    unsigned char *at;
    size_t n_bytes;
};

static inline struct image image_take(int fd)
{
    struct stat status;
    REQUIRE(fstat(fd, &status) == 0);
    struct image image = {malloc((size_t)status.st_size + 1), (size_t)status.st_size};
    REQUIRE(image.at);
    REQUIRE(pread(fd, image.at, image.n_bytes, 0) == (ssize_t)image.n_bytes);
    return image;
}

/* A new file with the same bytes; holes stay holes. */
static inline int image_file(const struct image *image)
{
    static const unsigned char zeros[PAGE];
    int fd = memfd_create("copy", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && ftruncate(fd, (off_t)image->n_bytes) == 0);
    for (size_t i = 0; i < image->n_bytes; i += PAGE) {
        size_t n = image->n_bytes - i < PAGE ? image->n_bytes - i : (size_t)PAGE;
        if (memcmp(image->at + i, zeros, n) != 0)
            REQUIRE(pwrite(fd, image->at + i, n, (off_t)i) == (ssize_t)n);
    }
    return fd;
}

/* Recovers from a copy. Returns the result of ledger_recover, and whether the state is this one. */
static inline int image_recover(const struct image *image, const struct world *world,
                                const struct expected *expected, bool *ret_says)
{
    struct ledger *ledger;
    struct ledger_recovery *recovery;
    char why[LEDGER_WHY_MAX];
    int r = ledger_recover(image_file(image), &world->identity, &ledger, &recovery, why);
    REQUIRE((r < 0) == (why[0] != '\0'));
    if (r == 0) {
        *ret_says = says(recovery, expected);
        ledger_recovery_free(recovery);
        ledger_free(ledger);
    }
    return r;
}

/* Another process takes over: a new ledger on the same file, which must have the right state. */
static inline void restart(struct world *world)
{
    struct ledger_recovery *recovery;
    char why[LEDGER_WHY_MAX];
    int fd = dup(ledger_fd(world->ledger));
    world->ledger = ledger_free(world->ledger);
    int r = ledger_recover(fd, &world->identity, &world->ledger, &recovery, why);
    if (r < 0)
        ck_abort_msg("%d: %s", r, why);
    REQUIRE(says(recovery, &world->now));
    for (size_t i = 0; i < recovery->n_models; i++)
        ledger_bind(world->ledger, recovery->models[i].id,
                    world->models[recovery->models[i].definition->name[1] - '0']);
    ledger_recovery_free(recovery);
    writes.fd = ledger_fd(world->ledger);
}
