#include "daemon/metrics/listen_address.h"

#include "common/cleanup.h"
#include "daemon/control/listen_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int parse(const char *text, union address *ret, int *ret_bytes)
{
    *ret_bytes = sizeof *ret;
    memset(ret, 0, sizeof *ret);
    if (evutil_parse_sockaddr_port(text, &ret->any, ret_bytes) < 0)
        return -EINVAL;
    bool has_port = ret->any.sa_family == AF_INET ? ret->v4.sin_port != 0 : ret->v6.sin6_port != 0;
    return has_port ? 0 : -EINVAL;
}

int listen_address_parse(const char *text, struct listen_address *ret)
{
    union address address;
    int n_bytes;

    if (*text == '/') {
        *ret = (struct listen_address){.family = AF_UNIX};
        return strlen(text) < sizeof((struct sockaddr_un){0}.sun_path) ? 0 : -EINVAL;
    }
    int r = parse(text, &address, &n_bytes);
    if (r < 0)
        return r;
    ret->family = address.any.sa_family;
    ret->is_loopback = address.any.sa_family == AF_INET
                           ? ntohl(address.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET
                           : IN6_IS_ADDR_LOOPBACK(&address.v6.sin6_addr);
    return 0;
}

int listen_address_open(const char *text, gid_t gid)
{
    enum { BACKLOG = 128 };
    union address address;
    int n_bytes, on = 1;

    if (*text == '/')
        return listen_socket_open(text, gid);
    int r = parse(text, &address, &n_bytes);
    if (r < 0)
        return r;
    _cleanup_(closep) int fd =
        socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Connections inherit TCP_NODELAY, without which the last part of a reply waits for the client.
     */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(fd, &address.any, (socklen_t)n_bytes) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return TAKE_FD(fd);
}
