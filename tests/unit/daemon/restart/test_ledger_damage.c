/* Damaged ledgers: of another version or arena, truncated, with each bit flipped, and well-formed
 * but with wrong content. Each is refused as a whole. */
#include "daemon/restart/ledger_file.h"

#include "tests/unit/case_step.h"
#include "tests/unit/ledger_fixture.h"
#include "tests/unit/run_suite.h"

#include <sys/socket.h>

enum { ARENA_PAGES = 12 };

static const uint64_t single[LAYERS] = {1, 1, 1, 1, 1, 1, 1, 1}, mixed[LAYERS] = {4, 2, 1};

/* A ledger with some of everything: an unloaded model, layers that a flush evicted or kept, an
 * evicted layer, a layer in four extents. */
static void make(struct world *world)
{
    world_init(world, ARENA_PAGES);
    add(world, 0, single, 8);
    add(world, 2, mixed, 1);
    add(world, 1, mixed, 3);
    drop(world, 2);
    for (unsigned i = 0; i < 8; i++)
        ck_assert(load(world, 0, i));
    ck_assert(load(world, 1, 1));
    lease(world, 0, 1, 1);
    lease(world, 1, 1, 3);
    flush(world);
    lease(world, 1, 1, 0);
    for (unsigned i = 0; i < 8; i++)
        if (i != 1)
            ck_assert(load(world, 0, i));
    ck_assert(load(world, 1, 2));
    for (unsigned i = 2; i < 8; i += 2)
        evict(world, 0, i);
    ck_assert(load(world, 1, 0));
    evict(world, 0, 7);
    ck_assert_uint_eq(world->now.models[1].layers[0].n_extents, 4);
}

static const struct ledger_slot *slot_named(const struct world *world, unsigned model)
{
    uint64_t id = ledger_model_id(world->ledger, world->models[model]);
    for (size_t i = 0; i < LEDGER_MODELS_MAX; i++)
        if (world->ledger->slots[i].id == id)
            return &world->ledger->slots[i];
    ck_abort_msg("no slot");
}

static uint64_t place_of(const struct world *world, unsigned model, unsigned layer)
{
    return ledger_layer_place(slot_named(world, model), layer);
}

START_TEST(test_every_bit)
{
    struct world world;
    make(&world);
    struct image image = image_take(ledger_fd(world.ledger));
    unsigned n_refused = 0, n_same = 0, n = 0, n_between = (unsigned)case_step();
    for (size_t i = 0; i < image.n_bytes; i++) {
        /* Most of the unwritten part is equal, so one bit of each 64 bytes is enough there. */
        static const unsigned char zeros[64];
        bool is_empty = memcmp(image.at + i / 64 * 64, zeros, 64) == 0;
        if (is_empty && i % 64 != i / 64 % 64)
            continue;
        for (unsigned bit = 0; bit < (is_empty ? 1 : 8); bit++) {
            bool is_same = false;
            if (n++ % n_between)
                continue;
            image.at[i] ^= (unsigned char)(1u << bit);
            int r = image_recover(&image, &world, &world.now, &is_same);
            image.at[i] ^= (unsigned char)(1u << bit);
            if (r < 0)
                n_refused++;
            else if (is_same)
                n_same++;
            else
                ck_abort_msg("byte %zu, bit %u makes it say something else", i, bit);
        }
    }
    ck_assert_uint_gt(n_refused, 1000 / n_between);
    ck_assert_uint_gt(n_same, 0);
    free(image.at);
    world_done(&world);
}
END_TEST

START_TEST(test_every_length)
{
    struct world world;
    struct ledger *ledger;
    struct ledger_recovery *recovery;
    char why[LEDGER_WHY_MAX];
    bool is_same = false;
    make(&world);
    struct image image = image_take(ledger_fd(world.ledger));
    ck_assert_int_eq(image_recover(&image, &world, &world.now, &is_same), 0);
    ck_assert(is_same);
    int fd = image_file(&image);
    for (size_t n = 1; n <= image.n_bytes; n += (size_t)case_step()) {
        REQUIRE(ftruncate(fd, (off_t)(image.n_bytes - n)) == 0);
        REQUIRE(ledger_recover(dup(fd), &world.identity, &ledger, &recovery, why) == -EBADMSG);
    }
    close(fd);
    free(image.at);
    world_done(&world);
}
END_TEST

static void assert_refused(int fd, const struct ledger_arena *arena, int error, const char *reason)
{
    struct ledger *ledger = NULL;
    struct ledger_recovery *recovery = NULL;
    char why[LEDGER_WHY_MAX];
    ck_assert_int_eq(ledger_recover(fd, arena, &ledger, &recovery, why), error);
    ck_assert_ptr_null(ledger);
    ck_assert_ptr_null(recovery);
    ck_assert_msg(strstr(why, reason), "\"%s\" instead of \"%s\"", why, reason);
}

START_TEST(test_another)
{
    struct world world;
    make(&world);
    struct image image = image_take(ledger_fd(world.ledger));
    struct ledger_header *header = (struct ledger_header *)(void *)image.at;
    struct ledger_arena other = world.identity;

    other.capacity_bytes -= PAGE;
    assert_refused(image_file(&image), &other, -ESTALE,
                   "the capacity was 49152 bytes and is now 45056");
    other = world.identity;
    other.page_bytes *= 2;
    assert_refused(image_file(&image), &other, -ESTALE, "backing");
    other = world.identity;
    other.backing++;
    assert_refused(image_file(&image), &other, -ESTALE, "backing");
    other = world.identity;
    other.fd = memfd_create("other", MFD_CLOEXEC);
    assert_refused(image_file(&image), &other, -ESTALE, "another arena");
    close(other.fd);
    other.fd = -1;
    assert_refused(image_file(&image), &other, -EBADF, "cannot read the ledger");

    header->version++;
    assert_refused(image_file(&image), &world.identity, -ESTALE,
                   "the ledger has format 4, this program has 3");
    header->version--;
    header->reserved = 1;
    header->crc = ledger_header_crc(header);
    assert_refused(image_file(&image), &world.identity, -EBADMSG, "header");
    free(image.at);
    world_done(&world);
}
END_TEST

START_TEST(test_no_ledger)
{
    struct world world;
    int fds[2];
    world_init(&world, 16);
    assert_refused(memfd_create("empty", MFD_CLOEXEC), &world.identity, -EBADMSG, "no ledger");
    assert_refused(-1, &world.identity, -EBADF, "cannot read the ledger");
    assert_refused(open("/", O_RDONLY | O_CLOEXEC), &world.identity, -EISDIR, "cannot read");
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_refused(fds[0], &world.identity, -ESPIPE, "cannot read");
    close(fds[1]);
    /* A ledger that cannot be written to is refused, because it could not be continued. */
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", ledger_fd(world.ledger));
    assert_refused(open(path, O_RDONLY | O_CLOEXEC), &world.identity, -EBADF, "cannot read");
    world_done(&world);
}
END_TEST

/* Changes a record and makes its checksum right. */
struct forgery {
    struct world world;
    struct image image;
};

static struct ledger_record *record_at(struct forgery *forgery, uint64_t place)
{
    return (struct ledger_record *)(void *)(forgery->image.at + place);
}

static struct ledger_link *link_at(struct forgery *forgery, uint64_t page)
{
    return (struct ledger_link *)(void *)(forgery->image.at + ledger_link_place(page));
}

static void assert_forged(struct forgery *forgery, uint64_t place, const char *reason)
{
    struct ledger_record *record = record_at(forgery, place);
    record->crc = ledger_record_crc(record, place);
    assert_refused(image_file(&forgery->image), &forgery->world.identity, -EBADMSG, reason);
}

static void forge(struct forgery *forgery)
{
    make(&forgery->world);
    forgery->image = image_take(ledger_fd(forgery->world.ledger));
}

static void forge_done(struct forgery *forgery)
{
    free(forgery->image.at);
    world_done(&forgery->world);
}

START_TEST(test_forged_layers)
{
    struct forgery forgery;
    forge(&forgery);
    const struct world *world = &forgery.world;
    uint64_t place = place_of(world, 0, 3);
    struct ledger_record *record = record_at(&forgery, place), kept = *record;
    ck_assert_int_eq(record->state, LEDGER_PRESENT);
    ck_assert_uint_eq(record->layer.n_extents, 1);

#define FORGED(change, reason)                  \
    do {                                        \
        change;                                 \
        assert_forged(&forgery, place, reason); \
        *record = kept;                         \
    } while (0)
    FORGED(record->layer.first_page = ARENA_PAGES, "outside");
    FORGED(record->layer.first_page = UINT64_MAX, "outside");
    FORGED(record->layer.first_page = world->now.models[0].layers[5].first_pages[0], "overlap");
    FORGED(record->layer.n_pages = 2, "is impossible");
    FORGED(record->layer.n_pages = 0, "is impossible");
    FORGED(record->layer.n_pages = UINT64_MAX, "is impossible");
    FORGED(record->layer.n_extents = 0, "is impossible");
    FORGED(record->layer.n_extents = 2, "is impossible");
    FORGED(record->layer.n_extents = UINT32_MAX, "is impossible");
    FORGED(record->layer.fill_id = world->now.last_fill_id + 1, "is impossible");
    FORGED(record->layer.epoch++, "future epoch");
    FORGED(record->layer.index = 5, "another layer");
    FORGED(record->model++, "another layer");
    FORGED(record->state = LEDGER_LEASED + 1, "damaged");
    FORGED(record->kind = LEDGER_MODEL, "damaged");
    FORGED(record->step = 0, "damaged");
    FORGED(record->step = world->ledger->step + 1, "damaged");
    /* The same layer twice: another layer's record is replaced by it. */
    uint64_t other = place_of(world, 0, 5);
    *record = *record_at(&forgery, other);
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "damaged");
    FORGED(*record = *record_at(&forgery, other), "another layer");
    forge_done(&forgery);
}
END_TEST

START_TEST(test_forged_links)
{
    struct forgery forgery;
    forge(&forgery);
    const struct world *world = &forgery.world;
    const struct expected_layer *layer = &world->now.models[1].layers[0];

    uint64_t page = layer->first_pages[1], first = layer->first_pages[0];
    struct ledger_link *link = link_at(&forgery, page), kept = *link;
#define LINKED(change, reason)                                                          \
    do {                                                                                \
        change;                                                                         \
        link->crc = ledger_link_crc(link, ledger_link_place(page));                     \
        assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, reason); \
        *link = kept;                                                                   \
    } while (0)
    LINKED(link->next_page = first, "damaged");
    LINKED(link->next_page = page, "damaged");
    LINKED(link->next_page = UINT64_MAX, "damaged");
    LINKED(link->next_page = ARENA_PAGES, "outside");
    LINKED(link->next_page = UINT64_MAX - 1, "outside");
    LINKED(link->n_pages = 0, "outside");
    LINKED(link->n_pages = 5, "damaged");
    LINKED(link->fill_id--, "damaged");
    LINKED(*link = *link_at(&forgery, first), "");

    uint64_t place = place_of(world, 1, 0);
    struct ledger_record *record = record_at(&forgery, place), record_kept = *record;
    record->layer.n_extents--;
    assert_forged(&forgery, place, "damaged");
    *record = record_kept;
    record->layer.first_page = page;
    assert_forged(&forgery, place, "");
    /* All of its pages, but not in order, which the arena does not allow. */
    struct ledger_link *before = link_at(&forgery, first);
    before->next_page = kept.next_page;
    before->crc = ledger_link_crc(before, ledger_link_place(first));
    link->next_page = first;
    link->crc = ledger_link_crc(link, ledger_link_place(page));
    assert_forged(&forgery, place, "damaged");
    forge_done(&forgery);
}
END_TEST

START_TEST(test_forged_models)
{
    struct forgery forgery;
    forge(&forgery);
    const struct world *world = &forgery.world;
    uint64_t place = 0;
    for (size_t i = 0; i < LEDGER_MODELS_MAX; i++)
        if (&world->ledger->slots[i] == slot_named(world, 1))
            place = ledger_model_place(i);
    struct ledger_record *record = record_at(&forgery, place), kept = *record;

    FORGED(record->model_.begin_bytes += LEDGER_BLOCK_BYTES, "is wrong");
    FORGED(record->model_.begin_bytes++, "is wrong");
    FORGED(record->model_.begin_bytes = 0, "is wrong");
    FORGED(record->model_.end_bytes += LEDGER_BLOCK_BYTES, "is wrong");
    FORGED(record->model_.n_layers = UINT32_MAX, "is wrong");
    FORGED(record->model_.n_layers--, "two numbers of layers");
    FORGED(record->model_.definition_bytes = UINT64_MAX, "is wrong");
    FORGED(record->model_.definition_bytes--, "definition");
    FORGED(record->model_.definition_bytes++, "definition");
    FORGED(record->model_.definition_crc++, "definition");
    FORGED(record->model--, "is wrong");
    FORGED(record->state = LEDGER_LEASED, "is wrong");
    FORGED(record->kind = LEDGER_LAYER, "damaged");
    /* Two models in one region. */
    const struct ledger_record *other = record_at(&forgery, ledger_model_place(0));
    FORGED(record->model_ = other->model_, "overlap");
    forge_done(&forgery);
}
END_TEST

/* One of the last two steps is missing, or there is one too many. */
START_TEST(test_forged_steps)
{
    struct forgery forgery;
    forge(&forgery);
    const struct world *world = &forgery.world;
    unsigned char *last = forgery.image.at + ledger_step_place(world->ledger->step);
    unsigned char *before = forgery.image.at + ledger_step_place(world->ledger->step - 1);
    struct ledger_step step, kept_last, kept_before;
    memcpy(&kept_last, last, sizeof kept_last);
    memcpy(&kept_before, before, sizeof kept_before);

    memset(last, 0, sizeof step);
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "follow each other");
    memset(last, 1, sizeof step);
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "damaged");
    memcpy(last, &kept_last, sizeof kept_last);
    memset(before, 0, sizeof step);
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "follow each other");
    memcpy(before, &kept_last, sizeof kept_last);
    bool is_same = false;
    ck_assert_int_eq(image_recover(&forgery.image, world, &world->now, &is_same), 0);
    ck_assert(is_same);

    memcpy(before, &kept_before, sizeof kept_before);
    step = kept_last;
    step.place = 0;
    step.record.crc = ledger_record_crc(&step.record, step.place);
    step.crc = ledger_step_crc(&step);
    memcpy(last, &step, sizeof step);
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "damaged");
    step = kept_last;
    step.record.step += 2;
    step.record.crc = ledger_record_crc(&step.record, step.place);
    step.crc = ledger_step_crc(&step);
    memcpy(last, &step, sizeof step);
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "follow each other");
    step = kept_last;
    step.record.crc++;
    step.crc = ledger_step_crc(&step);
    memcpy(last, &step, sizeof step);
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "damaged");
    forge_done(&forgery);
}
END_TEST

/* A layer is loaded and evicted in the last two steps: it must not be resident again, whatever is
 * damaged. */
START_TEST(test_resurrection)
{
    struct forgery forgery;
    forge(&forgery);
    struct world *world = &forgery.world;
    ck_assert(load(world, 0, 7));
    evict(world, 0, 7);
    free(forgery.image.at);
    forgery.image = image_take(ledger_fd(world->ledger));
    uint64_t place = place_of(world, 0, 7);
    struct ledger_record *record = record_at(&forgery, place), kept = *record;
    unsigned char *last = forgery.image.at + ledger_step_place(world->ledger->step);

    last[0] ^= 1;
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "damaged");
    record->crc ^= 1;
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "damaged");
    memset(record, 0, sizeof *record);
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "damaged");
    /* If the last step is undamaged, its record is repaired from it, but a newer record is not. */
    bool is_same = false;
    last[0] ^= 1;
    ck_assert_int_eq(image_recover(&forgery.image, world, &world->now, &is_same), 0);
    ck_assert(is_same);
    *record = kept;
    record->step++;
    assert_forged(&forgery, place, "contradicts the last step");
    forge_done(&forgery);
}
END_TEST

START_TEST(test_same_name)
{
    struct world world;
    world_init(&world, 16);
    add(&world, 0, mixed, 3);
    struct model *twin = model_new(world.models[0]->definition);
    ck_assert_int_eq(ledger_add_model(world.ledger, twin), 0);
    assert_refused(dup(ledger_fd(world.ledger)), &world.identity, -EBADMSG, "same name");
    model_free(twin, world.arena);
    world_done(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger_damage");
    TCase *tcase = tcase_create("ledger_damage");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_every_bit);
    tcase_add_test(tcase, test_every_length);
    tcase_add_test(tcase, test_another);
    tcase_add_test(tcase, test_no_ledger);
    tcase_add_test(tcase, test_forged_layers);
    tcase_add_test(tcase, test_forged_links);
    tcase_add_test(tcase, test_forged_models);
    tcase_add_test(tcase, test_forged_steps);
    tcase_add_test(tcase, test_resurrection);
    tcase_add_test(tcase, test_same_name);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
