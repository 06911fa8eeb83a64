/* Binds a Unix socket so that at no moment a user without permission can connect. */
#include "daemon/control/listen_socket.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static const int backlog = 128;

char *listen_socket_default_path(void)
{
    const char *directory = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");
    char *path = NULL;
    if (!directory || directory[0] != '/' ||
        asprintf(&path, "%s/edgemind/io.edgemind.manager", directory) < 0)
        return NULL;
    return path;
}

static int make_parent(const char *path)
{
    _cleanup_(freep) char *directory = strdup(path);
    if (!directory)
        return -ENOMEM;
    char *slash = strrchr(directory, '/');
    if (!slash || slash == directory)
        return 0;
    *slash = '\0';
    return mkdir(directory, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* Whether the file at the address is a socket on which no process listens. */
static bool is_stale(const struct sockaddr_un *address)
{
    struct stat status;
    if (lstat(address->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return false;
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
           errno == ECONNREFUSED;
}

int listen_socket_open(const char *path, gid_t gid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);

    int r = make_parent(path);
    if (r < 0)
        return r;
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (is_stale(&address))
        unlink(path);

    /* No process can connect before listen(2); by then owner and mode are right. */
    mode_t mask = umask(0177);
    r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(mask);
    if (r < 0)
        return r;
    if ((gid != (gid_t)-1 && lchown(path, (uid_t)-1, gid) < 0) || chmod(path, 0660) < 0 ||
        listen(fd, backlog) < 0) {
        r = -errno;
        unlink(path);
        return r;
    }
    return TAKE_FD(fd);
}

gid_t listen_socket_group(int fd)
{
    struct sockaddr_un address;
    socklen_t length = sizeof(address);
    struct stat status;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        length <= offsetof(struct sockaddr_un, sun_path) || address.sun_path[0] != '/' ||
        stat(address.sun_path, &status) < 0)
        return (gid_t)-1;
    return status.st_gid;
}
