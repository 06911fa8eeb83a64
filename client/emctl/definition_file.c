/* Invariant: a name with '/' is a path and is never searched for in $EDGEMIND_PATH. */
#include "client/emctl/definition_file.h"

#include "client/library/regular_file.h"
#include "common/cleanup.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Where `make install` puts the examples. */
#ifndef EDGEMIND_MODELS
#define EDGEMIND_MODELS "/usr/share/edgemind/models"
#endif

/* Appends ", " and `path` to the list. 0 or -ENOMEM. */
static int note(char **tried, const char *path)
{
    char *longer;

    if (asprintf(&longer, "%s%s%s", *tried ? *tried : "", *tried ? ", " : "", path) < 0)
        return -ENOMEM;
    free(*tried);
    *tried = longer;
    return 0;
}

static bool absent(int error)
{
    return error == -ENOENT || error == -ENOTDIR;
}

int definition_file_open(const char *name, char **ret_path)
{
    const char *directories = getenv("EDGEMIND_PATH");
    _cleanup_(freep) char *tried = NULL;
    int fd = regular_file_open(name);
    bool directory = fd == -EISDIR; /* an error only if $EDGEMIND_PATH has no such file either */

    *ret_path = NULL;
    if (strchr(name, '/') || !(absent(fd) || directory)) {
        *ret_path = strdup(name);
        return fd;
    }
    if (note(&tried, name) < 0)
        return -ENOMEM;
    if (!directories || !*directories)
        directories = EDGEMIND_MODELS;
    for (size_t n; *directories; directories += n + (directories[n] == ':')) {
        _cleanup_(freep) char *path = NULL;
        n = strcspn(directories, ":");
        if (n == 0)
            continue;
        if (asprintf(&path, "%.*s/%s", (int)n, directories, name) < 0) {
            path = NULL;
            return -ENOMEM;
        }
        fd = regular_file_open(path);
        if (!absent(fd)) {
            *ret_path = TAKE_PTR(path);
            return fd;
        }
        if (note(&tried, path) < 0)
            return -ENOMEM;
    }
    *ret_path = directory ? strdup(name) : TAKE_PTR(tried);
    return directory ? -EISDIR : -ENOENT;
}
