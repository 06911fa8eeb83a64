/* The child gets its socket by the service manager's protocol (sd_listen_fds): descriptor 3,
 * LISTEN_FDS=1, LISTEN_PID its own. The environment variables of this process's own service manager
 * are removed first. */
#include "client/emctl/simulate.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PROGRAM "edgemindd"

enum { LISTEN_FD = 3, END_MSEC = 5000 };

/* The daemon that was installed or built with this emctl, or else the one in PATH. */
static int find_program(char path[static PATH_MAX])
{
    static const char *const places[] = {"", "../sbin/"};
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);

    if (n > 0) {
        own[n] = '\0';
        char *slash = strrchr(own, '/');
        for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
            int needed =
                snprintf(path, PATH_MAX, "%.*s/%s%s", (int)(slash - own), own, places[i], PROGRAM);
            if (needed < PATH_MAX && access(path, X_OK) == 0)
                return 0;
        }
    }
    for (const char *directories = getenv("PATH"); directories && *directories;) {
        int length = (int)strcspn(directories, ":");
        int needed = snprintf(path, PATH_MAX, "%.*s/" PROGRAM, length, directories);
        if (length > 0 && needed < PATH_MAX && access(path, X_OK) == 0)
            return 0;
        directories += length + (directories[length] == ':');
    }
    return -ENOENT;
}

__attribute__((noreturn)) static void run(const char *program, const char *capacity, int fd)
{
    char option[64], pid[16];

    snprintf(option, sizeof option, "--capacity=%s", capacity);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    /* Only emctl itself may write to its standard output. */
    if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0 || setenv("LISTEN_FDS", "1", 1) < 0 ||
        setenv("LISTEN_PID", pid, 1) < 0 || unsetenv("LISTEN_FDNAMES") < 0 ||
        unsetenv("NOTIFY_SOCKET") < 0 || unsetenv("WATCHDOG_USEC") < 0 ||
        unsetenv("WATCHDOG_PID") < 0)
        _exit(EXIT_FAILURE);
    /* dup2 clears close-on-exec, but not when both descriptors are the same. */
    if (fd == LISTEN_FD ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, LISTEN_FD) < 0)
        _exit(EXIT_FAILURE);
    execl(program, PROGRAM, "--simulate", option, "--log-level=error", (char *)NULL);
    fprintf(stderr, "emctl: cannot run %s: %s.\n", program, strerror(errno));
    _exit(EXIT_FAILURE);
}

int simulation_start(const char *capacity, struct simulation *ret)
{
    char program[PATH_MAX];
    int fds[2];
    int r = find_program(program);

    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        run(program, capacity, fds[1]);
    r = pid < 0 ? -errno : 0;
    close(fds[1]);
    if (r < 0) {
        close(fds[0]);
        return r;
    }
    *ret = (struct simulation){.pid = pid, .fd = fds[0]};
    return 0;
}

int simulation_end(struct simulation *simulation)
{
    int status = 0;
    struct pollfd end = {.fd = pidfd_open(simulation->pid, 0), .events = POLLIN};

    /* Without pidfd_open (before Linux 5.3) the wait has no limit. */
    if (end.fd >= 0) {
        if (poll(&end, 1, END_MSEC) == 0)
            kill(simulation->pid, SIGKILL);
        close(end.fd);
    }
    while (waitpid(simulation->pid, &status, 0) < 0 && errno == EINTR)
        ;
    simulation->pid = 0;
    return status;
}
