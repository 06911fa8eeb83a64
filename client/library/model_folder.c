/* Only the names of the files in a folder decide here. Their content is checked when one is opened.
 */
#include "client/library/model_folder.h"

#include "client/library/regular_file.h"
#include "common/cleanup.h"
#include "common/formats/part_name.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMED_MAX = 3 };

DEFINE_CLEANUP(DIR *, closedir);

struct found {
    char *chosen; /* owned; an index if there is one, otherwise the first in alphabetical order */
    bool is_index;
    unsigned n_indexes, n_weights;
    char *names[NAMED_MAX]; /* owned; some of the weight files */
};

static void found_done(struct found *found)
{
    free(found->chosen);
    for (size_t i = 0; i < NAMED_MAX; i++)
        free(found->names[i]);
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), n_end = strlen(end);
    return n > n_end && strcmp(name + n - n_end, end) == 0;
}

/* 0 or -ENOMEM. */
static int note(struct found *found, const char *file)
{
    bool is_index = ends_with(file, ".safetensors.index.json");
    bool is_weights = ends_with(file, ".safetensors") || ends_with(file, ".gguf");
    struct part_name name;

    if (*file == '.' || (!is_index && !is_weights))
        return 0;
    if (is_weights && part_name_parse(file, ".gguf", &name) && name.part > 1)
        return 0; /* the first part stands for all parts */
    if (is_weights) {
        if (found->n_weights < NAMED_MAX && !(found->names[found->n_weights] = strdup(file)))
            return -ENOMEM;
        found->n_weights++;
    }
    found->n_indexes += is_index;
    if (found->chosen && (found->is_index || !is_index))
        return 0;
    free(found->chosen);
    found->chosen = strdup(file);
    found->is_index = is_index;
    return found->chosen ? 0 : -ENOMEM;
}

/* "a.gguf, b.gguf and 3 more" */
static char *list(const struct found *found)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);

    if (!out)
        return NULL;
    unsigned n = found->n_weights < NAMED_MAX ? found->n_weights : NAMED_MAX;
    for (unsigned i = 0; i < n; i++)
        fprintf(out, "%s%s", i == 0 ? "" : ", ", found->names[i]);
    if (found->n_weights > n)
        fprintf(out, " and %u more", found->n_weights - n);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

int model_folder_open(const char *directory, char **ret_path)
{
    _cleanup_(closedirp) DIR *stream = opendir(directory);
    _cleanup_(found_done) struct found found = {0};
    const struct dirent *entry;
    char *path = NULL;
    size_t n = strlen(directory);

    *ret_path = NULL;
    if (!stream)
        return -errno;
    while ((entry = readdir(stream)))
        if (note(&found, entry->d_name) < 0)
            return -ENOMEM;
    if (found.n_indexes > 1 || (found.n_indexes == 0 && found.n_weights != 1)) {
        *ret_path = list(&found);
        return !*ret_path ? -ENOMEM : found.n_weights + found.n_indexes == 0 ? -ENOENT : -EMLINK;
    }
    if (asprintf(&path, "%s%s%s", directory, n > 0 && directory[n - 1] == '/' ? "" : "/",
                 found.chosen) < 0)
        return -ENOMEM;
    *ret_path = path;
    return regular_file_open(path);
}
