/* Ledgers that are well-formed but have wrong content. Each is refused as a whole. */
#include "tests/unit/ledger_damage_fixture.h"
#include "tests/unit/run_suite.h"

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
    FORGED(record->state = LEDGER_MAPPED + 1, "damaged");
    FORGED(record->state = LEDGER_MAPPED, "is impossible");
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

    FORGED(record->model_.begin_bytes += system_page_bytes(), "is wrong");
    FORGED(record->model_.begin_bytes++, "is wrong");
    FORGED(record->model_.begin_bytes = 0, "is wrong");
    FORGED(record->model_.end_bytes += system_page_bytes(), "is wrong");
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

START_TEST(test_too_few_pages)
{
    static const uint64_t pairs[LAYERS] = {2, 2, 2};
    struct forgery forgery;
    struct world *world = &forgery.world;
    world_init(world, 6);
    add(world, 0, pairs, 3);
    add(world, 1, mixed, 1);
    for (unsigned i = 0; i < 3; i++)
        ck_assert(load(world, 0, i));
    evict(world, 0, 0);
    evict(world, 0, 2);
    ck_assert(load(world, 1, 0));
    const struct expected_layer *layer = &world->now.models[1].layers[0];
    ck_assert_uint_eq(layer->n_extents, 2);
    forgery.image = image_take(ledger_fd(world->ledger));
    struct ledger_link *link = link_at(&forgery, layer->first_pages[1]);
    link->n_pages--;
    link->crc = ledger_link_crc(link, ledger_link_place(layer->first_pages[1]));
    assert_refused(image_file(&forgery.image), &world->identity, -EBADMSG, "lacks pages");
    forge_done(&forgery);
}
END_TEST

START_TEST(test_no_last_step_or_epoch)
{
    struct forgery forgery;
    forge(&forgery);
    const struct ledger_arena *identity = &forgery.world.identity;
    memset(forgery.image.at + LEDGER_EPOCH_OFFSET, 0, sizeof(struct ledger_record));
    assert_refused(image_file(&forgery.image), identity, -EBADMSG, "has no epoch");
    forgery.image.at[ledger_step_place(0)] ^= 1;
    forgery.image.at[ledger_step_place(1)] ^= 1;
    assert_refused(image_file(&forgery.image), identity, -EBADMSG, "last steps are damaged");
    forge_done(&forgery);
}
END_TEST

START_TEST(test_too_large_counts)
{
    struct forgery forgery;
    forge(&forgery);

    record_at(&forgery, LEDGER_EPOCH_OFFSET)->epoch = UINT64_MAX / 2 + 1;
    assert_forged(&forgery, LEDGER_EPOCH_OFFSET, "so many epochs");
    forge_done(&forgery);
    forge(&forgery);
    for (unsigned i = 0; i < 2; i++) {
        struct ledger_step *step =
            (struct ledger_step *)(void *)(forgery.image.at + ledger_step_place(i));
        step->last_fill_id = UINT64_MAX / 2 + 1;
        step->crc = ledger_step_crc(step);
    }
    assert_refused(image_file(&forgery.image), &forgery.world.identity, -EBADMSG, "so many steps");
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
    Suite *suite = suite_create("ledger_forged");
    TCase *tcase = tcase_create("ledger_forged");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_forged_layers);
    tcase_add_test(tcase, test_forged_links);
    tcase_add_test(tcase, test_forged_models);
    tcase_add_test(tcase, test_forged_steps);
    tcase_add_test(tcase, test_resurrection);
    tcase_add_test(tcase, test_too_few_pages);
    tcase_add_test(tcase, test_no_last_step_or_epoch);
    tcase_add_test(tcase, test_too_large_counts);
    tcase_add_test(tcase, test_same_name);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
