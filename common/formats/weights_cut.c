/* Cuts groups of tensors that would make large layers. Tensors of one part stay neighbours in the
 * array of items. */
#include "common/formats/weights.h"
#include "common/formats/weights_grouping.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_large(const struct item *item, uint64_t unit_bytes)
{
    return item->entry->bytes >= unit_bytes / WEIGHTS_SMALL_PART;
}

static uint64_t count_bytes(const struct grouping *grouping, const struct group *group)
{
    uint64_t bytes = 0;

    for (uint32_t i = group->first; i < group->first + group->n_items; i++)
        if (i == group->first || grouping->items[i].entry != grouping->items[i - 1].entry)
            bytes += grouping->items[i].entry->bytes;
    return bytes;
}

/* Whether item `i`, which follows the part's items, begins another part: the first large tensor
 * does, and one with which the part would be too large. A tensor's further names do not. */
static bool begins_part(const struct grouping *grouping, const struct group *part, uint32_t i,
                        uint64_t unit_bytes)
{
    const struct item *item = &grouping->items[i];

    return item[-1].entry != item->entry && is_large(item, unit_bytes) &&
           (!is_large(item - 1, unit_bytes) ||
            count_bytes(grouping, part) + item->entry->bytes > unit_bytes);
}

/* Moves the small tensors of a group before the large ones. Otherwise the order stays. */
static int small_first(struct grouping *grouping, const struct group *group, uint64_t unit_bytes)
{
    struct item *items = &grouping->items[group->first];
    struct item *copy = reallocarray(NULL, group->n_items, sizeof *copy);
    uint32_t n = 0;

    if (!copy)
        return -ENOMEM;
    memcpy(copy, items, group->n_items * sizeof *copy);
    for (int large = 0; large <= 1; large++)
        for (uint32_t i = 0; i < group->n_items; i++)
            if (is_large(&copy[i], unit_bytes) == large)
                items[n++] = copy[i];
    free(copy);
    return 0;
}

static int compare_units(const void *left, const void *right)
{
    const struct item *a = left, *b = right;
    int64_t x = a->unit < 0 ? INT64_MAX : a->unit, y = b->unit < 0 ? INT64_MAX : b->unit;

    if (x != y)
        return x < y ? -1 : 1;
    if (a->position != b->position)
        return a->position < b->position ? -1 : 1;
    return strcmp(a->alias ? a->alias : "", b->alias ? b->alias : "");
}

/* Makes a group of each unit of the whole one, and leaves the other tensors in `*rest`, which may
 * be empty. */
static void cut_units(struct grouping *grouping, struct group *whole, struct group *rest)
{
    struct item *items = &grouping->items[whole->first];
    uint32_t n = 0;

    *rest = *whole;
    qsort(items, whole->n_items, sizeof *items, compare_units);
    for (; n < rest->n_items && items[n].unit >= 0; n++) {
        struct group *part = n > 0 ? &grouping->groups[grouping->n_groups - 1] : NULL;
        if (part && items[n - 1].unit == items[n].unit) {
            part->n_items++;
            continue;
        }
        grouping->groups[grouping->n_groups++] = (struct group){.first = rest->first + n,
                                                                .n_items = 1,
                                                                .position = items[n].position,
                                                                .rank = rest->rank,
                                                                .unit = items[n].unit};
    }
    rest->first += n;
    rest->n_items -= n;
}

static bool has_units(const struct grouping *grouping, const struct group *group)
{
    for (uint32_t i = 0; i < group->n_items; i++)
        if (grouping->items[group->first + i].unit >= 0)
            return true;
    return false;
}

static int cut_group(struct grouping *grouping, uint32_t index, uint64_t unit_bytes)
{
    struct group whole = grouping->groups[index];
    bool is_part = has_units(grouping, &whole);

    if (is_part) {
        struct group rest;
        cut_units(grouping, &whole, &rest);
        /* The first unit's place is free: the last group takes it if nothing else is left. */
        if (rest.n_items == 0) {
            grouping->groups[index] = grouping->groups[--grouping->n_groups];
            return 0;
        }
        whole = rest;
        whole.position = grouping->items[whole.first].position;
        whole.part = 1;
        grouping->groups[index] = whole;
    }
    if (count_bytes(grouping, &whole) <= unit_bytes)
        return 0;
    int r = small_first(grouping, &whole, unit_bytes);
    if (r < 0)
        return r;
    struct group *part = &grouping->groups[index];
    part->n_items = 1;
    for (uint32_t i = whole.first + 1; i < whole.first + whole.n_items; i++) {
        if (!begins_part(grouping, part, i, unit_bytes)) {
            part->n_items++;
            continue;
        }
        part->part = part->part > 0 ? part->part : 1;
        uint32_t number = part->part + 1;
        part = &grouping->groups[grouping->n_groups++];
        *part = (struct group){.first = i,
                               .n_items = 1,
                               .position = grouping->items[i].position,
                               .rank = whole.rank,
                               .part = number,
                               .unit = -1};
    }
    return 0;
}

/* Each part has a tensor of its own, so there are not more groups than tensors, but for one that is
 * in the making. */
int grouping_cut(struct grouping *grouping, uint64_t unit_bytes)
{
    uint32_t n_groups = grouping->n_groups;
    int r = 0;

    for (uint32_t i = 0; i < n_groups && r == 0; i++)
        r = cut_group(grouping, i, unit_bytes);
    return r;
}
