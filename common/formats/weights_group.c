/* Groups the tensors of weight files into layers in execution order, by their names. The rules are
 * in weights.h. */
#include "common/definition/definition_builder.h"
#include "common/formats/weights.h"
#include "common/formats/weights_grouping.h"
#include "common/formats/weights_index.h"
#include "common/formats/weights_slice.h"
#include "common/formats/weights_words.h"
#include "common/memory_budget.h"
#include "common/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
    NUMBER_DIGITS_MAX = 9, /* longer numbers are hashes, not numbers of blocks */
    FAMILIES_MAX = 64      /* if there are more, modules belong to no family: bounds comparisons */
};

static void parse_name(const char *name, struct item *item)
{
    const char *last_dot = strrchr(name, '.');

    for (const char *at = name;; at++) {
        size_t n = strcspn(at, ".");
        if (n > 0 && n <= NUMBER_DIGITS_MAX && strspn(at, "0123456789") >= n) {
            item->n_prefix = (uint16_t)(at > name ? at - name - 1 : 0);
            item->n_layer = (uint16_t)(at - name + (ptrdiff_t)n);
            item->number = (int32_t)strtol(at, NULL, 10);
            return;
        }
        at += n;
        if (!*at)
            break;
    }
    size_t n = last_dot && last_dot > name ? (size_t)(last_dot - name) : strlen(name);
    item->n_prefix = item->n_layer = (uint16_t)n;
    item->number = -1;
}

static int compare_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    uint16_t n = x->n_prefix < y->n_prefix ? x->n_prefix : y->n_prefix;
    int r = memcmp(x->entry->name, y->entry->name, n);

    if (r != 0)
        return r;
    if (x->n_prefix != y->n_prefix)
        return x->n_prefix < y->n_prefix ? -1 : 1;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    if (x->position != y->position)
        return x->position < y->position ? -1 : 1;
    return strcmp(x->alias ? x->alias : "", y->alias ? y->alias : "");
}

static bool same_prefix(const struct item *x, const struct item *y)
{
    return x->n_prefix == y->n_prefix && memcmp(x->entry->name, y->entry->name, x->n_prefix) == 0;
}

/* Divides the sorted items into groups, and blocks with the same prefix into families. */
static void find_groups(struct grouping *grouping)
{
    for (uint32_t i = 0; i < grouping->n_items; i++) {
        const struct item *item = &grouping->items[i];
        bool same = i > 0 && same_prefix(item - 1, item);
        if (same && item[-1].number == item->number) {
            grouping->groups[grouping->n_groups - 1].n_items++;
            continue;
        }
        struct group *group = &grouping->groups[grouping->n_groups];
        *group = (struct group){.first = i, .n_items = 1, .position = item->position, .unit = -1};
        if (item->number >= 0) {
            if (!same || item[-1].number < 0)
                grouping->families[grouping->n_families++] = (struct family){
                    .prefix = item->entry->name,
                    .n_prefix = item->n_prefix,
                    .position = UINT32_MAX,
                    .first = grouping->n_groups,
                    .side = weights_side(item->entry->name, item->n_prefix),
                };
            struct family *family = &grouping->families[grouping->n_families - 1];
            family->n_groups++;
            if (item->position < family->position)
                family->position = item->position;
        }
        grouping->n_groups++;
    }
}

static int compare_families(const void *a, const void *b)
{
    const struct family *x = a, *y = b;

    if (x->side != y->side)
        return x->side < y->side ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

/* The length of the leading components that a module's name and a family's prefix share. */
static size_t shared_components(const char *name, size_t n_name, const struct family *family)
{
    size_t shared = 0;

    for (size_t i = 0;; i++) {
        bool name_ends = i == n_name || name[i] == '.',
             prefix_ends = i == family->n_prefix || family->prefix[i] == '.';
        if (name_ends && prefix_ends)
            shared = i;
        if (i == n_name || i == family->n_prefix || name[i] != family->prefix[i])
            return shared;
    }
}

/* Ranks: groups before all families, then the phases of each family, then groups after them. */
static uint32_t rank_module(const struct grouping *grouping, const struct item *item,
                            uint32_t first_block)
{
    const char *name = item->entry->name;
    const struct family *family = NULL;
    size_t n_shared = 0;

    if (grouping->n_families <= FAMILIES_MAX)
        for (uint32_t i = 0; i < grouping->n_families; i++) {
            size_t n = shared_components(name, item->n_prefix, &grouping->families[i]);
            if (n >= n_shared)
                family = n > n_shared ? &grouping->families[i] : NULL;
            if (n > n_shared)
                n_shared = n;
        }
    if (!family)
        n_shared = 0;
    enum phase phase = weights_phase(name + n_shared, item->n_prefix - n_shared);
    if (phase == PHASE_BLOCKS) {
        uint32_t blocks = family ? family->position : first_block;
        phase = item->position < blocks ? PHASE_BEFORE : PHASE_AFTER;
    }
    if (family)
        return 1 + (uint32_t)(family - grouping->families) * N_PHASES + phase;
    return phase == PHASE_BEFORE ? 0 : 1 + grouping->n_families * N_PHASES + phase;
}

static void rank_groups(struct grouping *grouping)
{
    uint32_t first_block = grouping->n_families > 0 ? UINT32_MAX : 0;

    qsort(grouping->families, grouping->n_families, sizeof *grouping->families, compare_families);
    for (uint32_t i = 0; i < grouping->n_families; i++) {
        const struct family *family = &grouping->families[i];
        if (family->position < first_block)
            first_block = family->position;
        for (uint32_t j = 0; j < family->n_groups; j++)
            grouping->groups[family->first + j].rank = 1 + i * N_PHASES + PHASE_BLOCKS;
    }
    for (uint32_t i = 0; i < grouping->n_groups; i++) {
        struct group *group = &grouping->groups[i];
        const struct item *item = &grouping->items[group->first];
        if (item->number < 0)
            group->rank = rank_module(grouping, item, first_block);
    }
}

static int compare_groups(const void *a, const void *b, void *context)
{
    const struct group *x = a, *y = b;
    const struct item *items = context;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (items[x->first].number != items[y->first].number)
        return items[x->first].number < items[y->first].number ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

static bool has_bytes(const struct grouping *grouping, const struct group *group)
{
    for (uint32_t i = 0; i < group->n_items; i++)
        if (grouping->items[group->first + i].entry->bytes > 0)
            return true;
    return false;
}

static int add_tensors(struct definition_builder *builder, const struct grouping *grouping,
                       const struct group *group)
{
    int r = 0;
    for (uint32_t i = 0; i < group->n_items && r == 0; i++) {
        const struct item *item = &grouping->items[group->first + i];
        const struct tensor_entry *entry = item->entry;
        const char *name = item->alias ? item->alias : entry->name;
        struct place place = {.key = name};
        r = definition_builder_tensor(builder, name, entry->type, entry->shape, entry->n_dims,
                                      &place);
    }
    return r;
}

/* Makes a layer from the groups [begin, end), of which only `named` has bytes. Groups without bytes
 * are not layers: their tensors go to the next layer, or, if there is none, to the last one. */
static int build_layer(struct definition_builder *builder, const struct grouping *grouping,
                       uint32_t begin, uint32_t named, uint32_t end, const struct place *place)
{
    const struct group *group = &grouping->groups[named];
    const struct item *item = &grouping->items[group->first];
    char name[DEFINITION_NAME_MAX + 12];

    if (group->unit >= 0)
        snprintf(name, sizeof name, "%.*s:u%" PRId32, (int)item->n_layer, item->entry->name,
                 group->unit);
    else if (group->part == 0)
        snprintf(name, sizeof name, "%.*s", (int)item->n_layer, item->entry->name);
    else
        snprintf(name, sizeof name, "%.*s:%" PRIu32, (int)item->n_layer, item->entry->name,
                 group->part);
    int r = definition_builder_begin_layer(builder, name, place);
    for (uint32_t i = begin; i < end && r == 0; i++)
        r = add_tensors(builder, grouping, &grouping->groups[i]);
    return r < 0 ? r : definition_builder_end_layer(builder);
}

/* Makes a valid model name from `name`, which is cut if it is too long. */
static void clean_name(const char *name, char ret[DEFINITION_NAME_MAX + 1])
{
    size_t used = 0, n_name = strlen(name);

    for (size_t i = 0; i < n_name;) {
        uint32_t character;
        size_t n = utf8_character(name + i, n_name - i, &character);
        bool replaced = n == 0 || character == '/' || utf8_is_control(character);
        size_t n_clean = replaced ? 1 : n;
        if (n_clean > DEFINITION_NAME_MAX - used)
            break;
        if (replaced)
            ret[used] = '-';
        else
            memcpy(ret + used, name + i, n);
        used += n_clean;
        i += n > 0 ? n : 1;
    }
    ret[used] = '\0';
    if (used == 0)
        strcpy(ret, "model");
}

static int build(const struct grouping *grouping, const char *model_name,
                 struct definition_problem *problem, struct definition **ret)
{
    struct definition_builder builder;
    struct place array = {.key = "layers"};
    char name[DEFINITION_NAME_MAX + 1];

    clean_name(model_name, name);
    uint32_t n_layers = 0;
    for (uint32_t i = 0; i < grouping->n_groups; i++)
        n_layers += has_bytes(grouping, &grouping->groups[i]);
    if (n_layers == 0)
        return definition_refuse(problem, NULL, "no tensor has any bytes");
    int r = definition_builder_init(&builder, problem);
    if (r == 0)
        r = definition_builder_begin(&builder, name, NULL, n_layers);
    for (uint32_t i = 0, begin = 0; i < n_layers && r == 0; i++) {
        struct place place = {.parent = &array, .index = i};
        uint32_t named = begin;
        while (!has_bytes(grouping, &grouping->groups[named]))
            named++;
        uint32_t end = i + 1 < n_layers ? named + 1 : grouping->n_groups;
        r = build_layer(&builder, grouping, begin, named, end, &place);
        begin = end;
    }
    if (r == 0)
        r = definition_builder_end(&builder, ret);
    definition_builder_done(&builder);
    return r;
}

/* Adds the tensor with its own name or with an alias. */
static void add_item(struct grouping *grouping, const struct weights_tensor *tensor,
                     const char *alias)
{
    struct item *item = &grouping->items[grouping->n_items++];

    *item = (struct item){
        .entry = tensor->entry, .alias = alias, .position = tensor->position, .unit = tensor->unit};
    parse_name(tensor->entry->name, item);
}

static int group(struct grouping *grouping, const struct weights_index *index, uint64_t unit_bytes,
                 struct definition_problem *problem)
{
    for (uint32_t i = 0; i < index->n_tensors; i++)
        add_item(grouping, &index->tensors[i], NULL);
    for (uint32_t i = 0; i < index->n_aliases; i++)
        add_item(grouping, index->aliases[i].tensor, index->aliases[i].name);
    qsort(grouping->items, grouping->n_items, sizeof *grouping->items, compare_items);
    find_groups(grouping);
    rank_groups(grouping);
    int r = unit_bytes > 0 ? grouping_cut(grouping, unit_bytes) : 0;
    if (r < 0)
        return r;
    if (grouping->n_groups > DEFINITION_LAYERS_MAX) {
        const struct group *first = &grouping->groups[DEFINITION_LAYERS_MAX];
        struct place place = {.key = grouping->items[first->first].entry->name};
        return definition_refuse(problem, unit_bytes > 0 ? &place : NULL,
                                 "the tensors make %u layers, more than %d", grouping->n_groups,
                                 DEFINITION_LAYERS_MAX);
    }
    qsort_r(grouping->groups, grouping->n_groups, sizeof *grouping->groups, compare_groups,
            grouping->items);
    return 0;
}

int weights_group(const char *model_name, struct tensor_file *const *files, uint32_t n_files,
                  uint64_t unit_bytes, struct definition **ret,
                  struct definition_problem *ret_problem)
{
    struct weights_index index;
    struct definition *definition = NULL;

    int r = weights_index_init(&index, files, n_files, ret_problem);
    if (r < 0)
        return r;
    if (unit_bytes > 0 && (r = weights_slice(&index, unit_bytes, ret_problem)) < 0) {
        weights_index_done(&index);
        return r;
    }
    struct grouping grouping = {
        .items =
            memory_budget_calloc((size_t)index.n_tensors + index.n_aliases, sizeof *grouping.items),
        .groups = memory_budget_calloc((size_t)index.n_tensors + 1, sizeof *grouping.groups),
        .families = memory_budget_calloc(index.n_tensors, sizeof *grouping.families),
    };
    r = !grouping.items || !grouping.groups || !grouping.families
            ? -ENOMEM
            : group(&grouping, &index, unit_bytes, ret_problem);
    if (r == 0)
        r = build(&grouping, model_name, ret_problem, &definition);
    if (grouping.items && grouping.groups && grouping.families)
        memory_budget_give(
            (uint64_t)index.n_tensors *
            (sizeof *grouping.items + sizeof *grouping.groups + sizeof *grouping.families));
    free(grouping.items);
    free(grouping.groups);
    free(grouping.families);
    if (r == 0)
        r = weights_bind_index(definition, &index, ret_problem);
    weights_index_done(&index);
    if (r < 0)
        definition_unref(definition);
    else
        *ret = definition;
    return r;
}
