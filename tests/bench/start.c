/* Times how long memory takes to be there.
 *   start ready PROGRAM ARGUMENT...
 * Prints the seconds from the start of a service to its READY=1, and ends it.
 *   start memset BYTES
 * Prints the seconds that one thread takes to make a memfd on plain pages and fill it. */
#include "common/clock.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* A service manager's end of sd_notify, without a path. */
static int listen_notify(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[32];
    int n = snprintf(name, sizeof(name), "@edgemind-bench-%d", getpid());
    memcpy(address.sun_path + 1, name + 1, (size_t)n - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0)
        fail("notify socket");
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void time_ready(char **command)
{
    int fd = listen_notify();
    struct timeval patience = {.tv_sec = 60};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    uint64_t begin = clock_monotonic_usec();
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        execv(command[0], command);
        fail(command[0]);
    }
    char message[4096] = "";
    while (!strstr(message, "READY=1")) {
        ssize_t n = recv(fd, message, sizeof(message) - 1, 0);
        if (n < 0) {
            kill(pid, SIGKILL);
            fail("no READY=1");
        }
        message[n] = '\0';
    }
    uint64_t end = clock_monotonic_usec();
    int status;
    kill(pid, SIGTERM);
    if (waitpid(pid, &status, 0) < 0 || status != 0)
        fail("the service did not end cleanly");
    printf("%.6f\n", (double)(end - begin) / 1e6);
    close(fd);
}

static void time_memset(size_t n_bytes)
{
    uint64_t begin = clock_monotonic_usec();
    int fd = memfd_create("edgemind-bench", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)n_bytes) < 0)
        fail("memfd");
    void *base = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        fail("mmap");
    (void)madvise(base, n_bytes, MADV_NOHUGEPAGE);
    memset(base, 0, n_bytes);
    printf("%.6f\n", (double)(clock_monotonic_usec() - begin) / 1e6);
    munmap(base, n_bytes);
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "ready") == 0) {
        time_ready(argv + 2);
    } else if (argc == 3 && strcmp(argv[1], "memset") == 0) {
        time_memset(strtoul(argv[2], NULL, 10));
    } else {
        fprintf(stderr, "usage: start ready PROGRAM ARGUMENT... | start memset BYTES\n");
        return 2;
    }
    return 0;
}
