/* Owns the passed sockets until the server gets them, and the file of the daemon's own socket. */
#include "daemon/sockets.h"

#include "common/log.h"
#include "daemon/control/listen_socket.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -EINVAL if there is no such group, or the failure of the look-up: getgrnam(3) says that errno may
 * have any of these values where the name was not found. */
static int errno_of_missing(int error)
{
    switch (error) {
    case 0:
    case ENOENT:
    case ESRCH:
    case EBADF:
    case EPERM:
        return -EINVAL;
    default:
        return -error;
    }
}

int group_find(const char *name, const char *option, gid_t *ret,
               char ret_why[static CONFIG_WHY_MAX])
{
    errno = 0;
    const struct group *group = name ? getgrnam(name) : NULL;
    if (name && !group) {
        int r = errno_of_missing(errno);
        if (r == -EINVAL)
            snprintf(ret_why, CONFIG_WHY_MAX, "%s: there is no group %s", option, name);
        else
            snprintf(ret_why, CONFIG_WHY_MAX, "%s: the group %s cannot be looked up: %s", option,
                     name, strerror(-r));
        return r;
    }
    *ret = group ? group->gr_gid : (gid_t)-1;
    return 0;
}

int sockets_take(struct sockets *sockets, int fd, bool is_listening)
{
    if (sockets->n_passed == SOCKETS_MAX) {
        close(fd);
        return -EMFILE;
    }
    sockets->passed[sockets->n_passed++] = (struct passed_socket){fd, is_listening};
    return 0;
}

static int give(struct server *server, int fd, bool is_listening, gid_t *ret_member_gid)
{
    if (!is_listening)
        return server_adopt(server, fd);
    *ret_member_gid = listen_socket_group(fd);
    return server_listen(server, fd);
}

static int open_own(struct sockets *sockets, struct server *server, const char *path,
                    const char *group, gid_t *ret_member_gid)
{
    char why[CONFIG_WHY_MAX];
    gid_t gid;
    int r = group_find(group, "socket-group", &gid, why);
    if (r < 0) {
        log_error("%s", why);
        return r;
    }
    char *copy = path ? strdup(path) : listen_socket_default_path();
    if (!copy) {
        log_error("there is no path to listen on: give --socket=PATH, or set XDG_RUNTIME_DIR");
        return -EINVAL;
    }
    int fd = listen_socket_open(copy, gid);
    if (fd < 0) {
        log_error("cannot listen on %s: %s", copy,
                  fd == -EADDRINUSE ? "another daemon listens there, or the file is no socket"
                                    : strerror(-fd));
        free(copy);
        return fd;
    }
    sockets->path = copy;
    r = give(server, fd, true, ret_member_gid);
    return r < 0 ? log_failure("cannot listen", r) : 0;
}

int sockets_open(struct sockets *sockets, struct server *server, const char *path,
                 const char *group, gid_t *ret_member_gid)
{
    if (sockets->n_passed == 0)
        return open_own(sockets, server, path, group, ret_member_gid);
    while (sockets->n_passed > 0) {
        const struct passed_socket *socket = &sockets->passed[--sockets->n_passed];
        int r = give(server, socket->fd, socket->is_listening, ret_member_gid);
        if (r < 0)
            return log_failure("cannot use a socket that was passed", r);
    }
    return 0;
}

void sockets_done(struct sockets *sockets)
{
    if (sockets->path)
        unlink(sockets->path);
    free(sockets->path);
    while (sockets->n_passed > 0)
        close(sockets->passed[--sockets->n_passed].fd);
    *sockets = (struct sockets){0};
}
