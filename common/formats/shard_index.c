/* The index names the files. Their own headers describe the content. */
#include "common/formats/shard_index.h"

#include "common/definition/definition_value.h"
#include "common/json_outline.h"
#include "common/json_scan.h"
#include "common/memory_budget.h"

#include <errno.h>
#include <string.h>

static const struct json_limits limits = {
    .max_bytes = DEFINITION_BYTES_MAX,
    .max_depth = DEFINITION_DEPTH_MAX,
    .max_values = DEFINITION_VALUES_MAX,
    .max_string_bytes = DEFINITION_STRING_BYTES_MAX,
};

static const struct json_limits outline_limits = {
    .max_bytes = 1 << 20,
    .max_depth = DEFINITION_DEPTH_MAX,
    .max_values = 1000,
    .max_string_bytes = DEFINITION_STRING_BYTES_MAX,
};

int shard_index_detect(const char *text, size_t n_bytes)
{
    static const char key[] = "\"weight_map\"";
    struct json_elements elements;
    struct json_problem problem;
    json_t *root;

    if (!memmem(text, n_bytes, key, sizeof key - 1))
        return 0;
    struct json_part whole = json_whole(text, n_bytes);
    int r = json_parse_outline(&whole, "weight_map", &outline_limits, &root, &elements, &problem);
    if (r < 0)
        return r == -ENOMEM ? r : 0;
    bool found = json_object_get(root, "weight_map") && !json_object_get(root, "layers");
    json_decref(root);
    return found;
}

static int collect_files(struct shard_index *index, struct definition_problem *problem)
{
    const struct place place = {.key = "weight_map"};
    const char *tensor;
    json_t *file;

    if (!json_is_object(index->weight_map) || json_object_size(index->weight_map) == 0)
        return definition_refuse(problem, &place, "must be an object with at least one tensor");
    index->files = calloc(SHARD_INDEX_FILES_MAX, sizeof *index->files);
    if (!index->files)
        return -ENOMEM;
    json_object_foreach (index->weight_map, tensor, file) {
        struct place here = {.parent = &place, .key = tensor};
        const char *path = json_string_value(file);
        if (!path || strlen(path) != json_string_length(file) || !definition_path_valid(path))
            return definition_refuse(problem, &here,
                                     "must be a file's name, relative and without \"..\"");
        uint32_t i = 0;
        while (i < index->n_files && strcmp(index->files[i], path) != 0)
            i++;
        if (i == SHARD_INDEX_FILES_MAX)
            return definition_refuse(problem, &here, "is in one file more than the %d allowed",
                                     SHARD_INDEX_FILES_MAX);
        if (i == index->n_files)
            index->files[index->n_files++] = path;
    }
    return 0;
}

int shard_index_parse(const char *text, size_t n_bytes, struct shard_index *ret,
                      struct definition_problem *ret_problem)
{
    struct shard_index index = {0};
    struct json_problem syntax;
    size_t token_bytes;

    int r = json_scan(text, n_bytes, &limits, &token_bytes, &syntax);
    if (r == 0) {
        index.tree_bytes = json_tree_bytes(text, n_bytes);
        if (!memory_budget_take(index.tree_bytes))
            return -ENOMEM;
        r = json_parse(text, n_bytes, &limits, &index.root, &syntax);
    }
    if (r < 0)
        memory_budget_give(index.tree_bytes);
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        *ret_problem = (struct definition_problem){.line = syntax.line, .column = syntax.column};
        snprintf(ret_problem->message, sizeof ret_problem->message, "%s", syntax.message);
        return -EBADMSG;
    }
    index.weight_map = json_object_get(index.root, "weight_map");
    r = collect_files(&index, ret_problem);
    if (r < 0) {
        shard_index_done(&index);
        return r;
    }
    *ret = index;
    return 0;
}

void shard_index_done(struct shard_index *index)
{
    free(index->files);
    if (index->root)
        memory_budget_give(index->tree_bytes);
    json_decref(index->root);
    *index = (struct shard_index){0};
}
