/* Source of the cache's layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache. */
#include "client/library/model_name.h"

#include "common/cleanup.h"
#include "common/definition/definition.h"
#include "common/formats/part_name.h"
#include "common/utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *model_name_escape(const char *text)
{
    enum { ESCAPE_BYTES = 6 };
    size_t n_left = strlen(text), used = 0;
    char *name = malloc(DEFINITION_NAME_MAX + 1);

    if (!name)
        return NULL;
    for (size_t n; n_left > 0; text += n, n_left -= n) {
        char escape[ESCAPE_BYTES + 1];
        const char *from = text;
        uint32_t character;
        n = utf8_character(text, n_left, &character);
        size_t n_from = n;
        if (n == 0 || utf8_is_control(character)) {
            snprintf(escape, sizeof escape, "\\u%04x",
                     n == 0 ? (unsigned)(unsigned char)*text : (unsigned)character);
            n += n == 0;
            from = escape;
            n_from = ESCAPE_BYTES;
        }
        if (used + n_from > DEFINITION_NAME_MAX)
            break;
        memcpy(name + used, from, n_from);
        used += n_from;
    }
    name[used] = '\0';
    return name;
}

/* "llama" for "llama.gguf", and for one of its parts. */
static char *stem_of(const char *base)
{
    struct part_name name;
    const char *dot = strrchr(base, '.');

    if (part_name_parse(base, ".gguf", &name))
        return strndup(base, name.n_stem);
    return strndup(base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

/* Names that files have in every repository, so that they do not tell models apart. */
static bool is_generic(const char *stem)
{
    enum { HASH_CHARACTERS = 40 };
    static const char *const words[] = {"model",         "pytorch_model", "diffusion_pytorch_model",
                                        "adapter_model", "consolidated",  "weights",
                                        "ggml-model"};

    if (strlen(stem) >= HASH_CHARACTERS && strspn(stem, "0123456789abcdef") == strlen(stem))
        return true; /* names of the cache's own files, which are hashes */
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if (strncmp(stem, words[i], n) == 0 && (!stem[n] || strchr(".-_", stem[n])))
            return true;
    }
    return false;
}

/* Makes an absolute path without following links, because a link of the cache leads to a file whose
 * name is a hash. Removes "//", "." and "..". The result is malloc'ed; NULL when out of memory, or
 * if there is no current directory. */
static char *absolute(const char *path)
{
    _cleanup_(freep) char *current = *path == '/' ? strdup("") : getcwd(NULL, 0);
    char *whole = NULL;

    if (!current || asprintf(&whole, "%s/%s", current, path) < 0)
        return NULL;
    char *to = whole;
    for (const char *from = whole; *from;) {
        size_t n = strcspn(++from, "/");
        if (n == 2 && strncmp(from, "..", 2) == 0)
            while (to > whole && *--to != '/')
                ;
        else if (n > 0 && !(n == 1 && *from == '.')) {
            *to++ = '/';
            memmove(to, from, n);
            to += n;
        }
        from += n;
    }
    *to = '\0';
    return whole;
}

/* Returns NAME, or NAME-SUBFOLDER, for a path in the cache. NULL if the path is not in a cache, or
 * when out of memory. */
static char *repository_of(char *path)
{
    static const char prefix[] = "models--";
    char *name = NULL;

    for (char *component = path; (component = strchr(component, '/'));) {
        component++;
        if (strncmp(component, prefix, sizeof prefix - 1) != 0)
            continue;
        char *folder = component + sizeof prefix - 1, *end = strchr(folder, '/');
        if (!end || (strncmp(end, "/snapshots/", 11) != 0 && strncmp(end, "/blobs/", 7) != 0))
            continue;
        *end = '\0';
        /* "models--NAME" is a repository without an organisation. */
        const char *owner_end = strstr(folder, "--");
        const char *repository = owner_end ? owner_end + 2 : folder;
        char *below = strchr(end + 1, '/');            /* REVISION/... */
        below = below ? strchr(below + 1, '/') : NULL; /* /unet/model.safetensors */
        char *last = below ? strrchr(below, '/') : NULL;
        if (last)
            *last = '\0';
        for (char *c = below; c && *c; c++)
            if (*c == '/')
                *c = '-';
        if (asprintf(&name, "%s%s", repository, below && last > below ? below : "") < 0)
            name = NULL;
        break;
    }
    return name;
}

char *model_name_of_path(const char *path, bool is_index, bool by_directory)
{
    const char *slash = strrchr(path, '/');
    _cleanup_(freep) char *stem = stem_of(slash ? slash + 1 : path);
    _cleanup_(freep) char *whole = absolute(path);

    if (!stem)
        return NULL;
    if (!is_index && !is_generic(stem))
        return model_name_escape(stem);
    char *directory_end = whole ? strrchr(whole, '/') : NULL;
    _cleanup_(freep) char *copy = whole ? strdup(whole) : NULL;
    _cleanup_(freep) char *repository = copy ? repository_of(copy) : NULL;
    if (repository)
        return model_name_escape(repository);
    if (!is_index && !by_directory)
        return model_name_escape(stem);
    if (!directory_end)
        return model_name_escape("model");
    *directory_end = '\0';
    const char *directory = strrchr(whole, '/');
    return model_name_escape(directory && directory[1] ? directory + 1 : "model");
}
