/* Invariant: tensors and aliases are each sorted by name, and no name occurs twice. */
#include "common/formats/weights_index.h"

#include "common/definition/definition_pool.h"
#include "common/definition/definition_value.h"
#include "common/memory_budget.h"
#include "common/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
    const struct weights_tensor *x = a, *y = b;
    int r = strcmp(x->entry->name, y->entry->name);
    return r ? r : (x->source > y->source) - (x->source < y->source);
}

static int check_names(const struct weights_index *index, struct definition_problem *problem)
{
    for (uint32_t i = 1; i < index->n_tensors; i++) {
        const struct weights_tensor *one = &index->tensors[i - 1], *other = &index->tensors[i];
        struct place place = {.key = one->entry->name};
        if (strcmp(one->entry->name, other->entry->name) == 0)
            return definition_refuse(problem, &place,
                                     "is in two of the weight files, number %" PRIu32
                                     " and number %" PRIu32,
                                     one->source + 1, other->source + 1);
    }
    return 0;
}

static int compare_tensor_name(const void *name, const void *tensor)
{
    return strcmp(name, ((const struct weights_tensor *)tensor)->entry->name);
}

static int compare_alias_name(const void *name, const void *alias)
{
    return strcmp(name, ((const struct weights_alias *)alias)->name);
}

static const struct weights_tensor *find_tensor(const struct weights_index *index, const char *name)
{
    return bsearch(name, index->tensors, index->n_tensors, sizeof *index->tensors,
                   compare_tensor_name);
}

static int compare_aliases(const void *a, const void *b)
{
    const struct weights_alias *x = a, *y = b;
    int r = strcmp(x->name, y->name);
    return r ? r : (x->tensor > y->tensor) - (x->tensor < y->tensor);
}

/* Shards of one model repeat each other's aliases. */
static int merge_aliases(struct weights_index *index, struct definition_problem *problem)
{
    enum { QUOTED_BYTES_MAX = 80 };
    uint32_t n = 0;

    qsort(index->aliases, index->n_aliases, sizeof *index->aliases, compare_aliases);
    for (uint32_t i = 0; i < index->n_aliases; i++) {
        const struct weights_alias *alias = &index->aliases[i],
                                   *last = n > 0 ? &index->aliases[n - 1] : NULL;
        if (!last || strcmp(last->name, alias->name) != 0) {
            index->aliases[n++] = *alias;
        } else if (last->tensor != alias->tensor) {
            const char *one = last->tensor->entry->name, *other = alias->tensor->entry->name;
            struct place place = {.key = alias->name};
            return definition_refuse(problem, &place,
                                     "the metadata give this name to both \"%.*s\" and \"%.*s\"",
                                     utf8_prefix(one, QUOTED_BYTES_MAX), one,
                                     utf8_prefix(other, QUOTED_BYTES_MAX), other);
        }
    }
    index->n_aliases = n;
    return 0;
}

static int find_aliases(struct weights_index *index, struct tensor_file *const *files,
                        uint32_t n_files, struct definition_problem *problem)
{
    uint64_t n_aliases = 0;

    for (uint32_t i = 0; i < n_files; i++)
        n_aliases += files[i]->n_aliases;
    if (n_aliases == 0)
        return 0;
    index->aliases = memory_budget_calloc(n_aliases, sizeof *index->aliases);
    if (!index->aliases)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_files; i++)
        for (const struct tensor_alias *alias = files[i]->aliases; alias; alias = alias->next) {
            const struct weights_tensor *tensor = find_tensor(index, alias->kept);
            if (tensor && !find_tensor(index, alias->name))
                index->aliases[index->n_aliases++] = (struct weights_alias){alias->name, tensor};
        }
    return merge_aliases(index, problem);
}

int weights_index_init(struct weights_index *index, struct tensor_file *const *files,
                       uint32_t n_files, struct definition_problem *problem)
{
    uint64_t n_tensors = 0;

    *index = (struct weights_index){0};
    for (uint32_t i = 0; i < n_files; i++)
        n_tensors += files[i]->n_entries;
    if (n_tensors > DEFINITION_TENSORS_MAX)
        return definition_refuse(problem, NULL, "the model has more than %d tensors",
                                 DEFINITION_TENSORS_MAX);
    index->tensors = memory_budget_calloc(n_tensors ? n_tensors : 1, sizeof *index->tensors);
    if (!index->tensors)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_files; i++)
        for (uint32_t j = 0; j < files[i]->n_entries; j++) {
            index->tensors[index->n_tensors] =
                (struct weights_tensor){&files[i]->entries[j], files[i], i, index->n_tensors, -1};
            index->n_tensors++;
        }
    qsort(index->tensors, index->n_tensors, sizeof *index->tensors, compare_names);
    int r = check_names(index, problem);
    if (r == 0)
        r = find_aliases(index, files, n_files, problem);
    if (r < 0)
        weights_index_done(index);
    return r;
}

int weights_index_replace(struct weights_index *index, struct weights_tensor *tensors,
                          uint32_t n_tensors, struct definition_problem *problem)
{
    struct weights_index other = {.tensors = tensors, .n_tensors = n_tensors};

    qsort(tensors, n_tensors, sizeof *tensors, compare_names);
    int r = check_names(&other, problem);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < index->n_aliases; i++)
        index->aliases[i].tensor = find_tensor(&other, index->aliases[i].tensor->entry->name);
    free(index->tensors);
    index->tensors = tensors;
    index->n_tensors = n_tensors;
    return 0;
}

void weights_index_done(struct weights_index *index)
{
    if (index->tensors)
        memory_budget_give((uint64_t)index->n_tensors * sizeof *index->tensors);
    free(index->tensors);
    free(index->aliases);
    free(index->entries);
    definition_pool_free(index->pool);
    *index = (struct weights_index){0};
}

const struct weights_tensor *weights_index_find(const struct weights_index *index, const char *name)
{
    const struct weights_tensor *tensor = find_tensor(index, name);
    if (tensor || index->n_aliases == 0)
        return tensor;
    const struct weights_alias *alias =
        bsearch(name, index->aliases, index->n_aliases, sizeof *index->aliases, compare_alias_name);
    return alias ? alias->tensor : NULL;
}
