/* What several fuzz targets share: the check that aborts, and the socket of a hostile peer. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* A name that no other process uses, in the abstract namespace, so that nothing has to be removed.
 */
static inline socklen_t fuzz_address(struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n =
        snprintf(ret->sun_path + 1, sizeof ret->sun_path - 1, "edgemind-fuzz-%d", (int)getpid());
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

/* Sends bytes, with a descriptor on the first of them unless `fd` is -1. Returns how many bytes the
 * socket took, or -1: the peer has gone, or reads nothing. */
static inline ssize_t fuzz_send(int to, const void *bytes, size_t n_bytes, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n_bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd >= 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    return sendmsg(to, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}
