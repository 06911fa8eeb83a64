#include "client/library/socket_path.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define SYSTEM_SOCKET "/run/edgemind/io.edgemind.manager"

/* A path that exists but that this user may not see counts as existing. */
static bool exists(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 || errno == EACCES;
}

char *socket_path_find(const char *given)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char *own;

    if (!given)
        given = getenv("EDGEMIND_SOCKET");
    if (given && *given)
        return strdup(given);
    if (exists(SYSTEM_SOCKET) || !runtime || !*runtime)
        return strdup(SYSTEM_SOCKET);
    if (asprintf(&own, "%s/edgemind/io.edgemind.manager", runtime) < 0)
        return NULL;
    if (exists(own))
        return own;
    free(own);
    return strdup(SYSTEM_SOCKET);
}
