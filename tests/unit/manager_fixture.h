/* The test's own socket, which replaces the service manager's. */
#pragma once

#include "daemon/system/service_manager.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char directory[] = "/tmp/edgemind-test-service-XXXXXX";
static struct sockaddr_un address;
static int manager = -1; /* receives what is notified */

static inline void make_manager(void)
{
    strcpy(directory + strlen(directory) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", directory);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(manager, (struct sockaddr *)&address, sizeof address), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
}

static inline void remove_manager(void)
{
    close(manager);
    unlink(address.sun_path);
    rmdir(directory);
    unsetenv("NOTIFY_SOCKET");
}

static inline int memory_file(const char *text)
{
    int fd = memfd_create("edgemind-test", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}
