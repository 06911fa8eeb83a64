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

/* Whether the item begins a part: a large tensor does, but its further names do not. */
static bool begins_part(const struct grouping *grouping, uint32_t i, uint64_t unit_bytes)
{
    const struct item *item = &grouping->items[i];
    return is_large(item, unit_bytes) && (i == 0 || item[-1].entry != item->entry);
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

static int cut_group(struct grouping *grouping, uint32_t index, uint64_t unit_bytes)
{
    const struct group whole = grouping->groups[index];
    struct group *part = &grouping->groups[index];
    uint64_t bytes = 0;

    for (uint32_t i = whole.first; i < whole.first + whole.n_items; i++)
        if (i == whole.first || grouping->items[i].entry != grouping->items[i - 1].entry)
            bytes += grouping->items[i].entry->bytes;
    if (bytes <= unit_bytes)
        return 0;
    int r = small_first(grouping, &whole, unit_bytes);
    if (r < 0)
        return r;
    part->n_items = 1;
    for (uint32_t i = whole.first + 1; i < whole.first + whole.n_items; i++) {
        if (!begins_part(grouping, i, unit_bytes)) {
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
                               .part = number};
    }
    return 0;
}

/* Each part has a large tensor of its own, except for one, so there are not more groups than
 * tensors. */
int grouping_cut(struct grouping *grouping, uint64_t unit_bytes)
{
    uint32_t n_groups = grouping->n_groups;
    int r = 0;

    for (uint32_t i = 0; i < n_groups && r == 0; i++)
        r = cut_group(grouping, i, unit_bytes);
    return r;
}
