/* The environment variable EDGEMIND_SSH names another program than ssh. */
#include "client/emctl/remote.h"

#include "client/emctl/error_message.h"
#include "common/cleanup.h"
#include "common/error.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SSH_FAILED = 255, NO_COMMAND = 127, LAST_WORDS_MSEC = 2000 };

/* "emctl bridge", or with the socket, quoted for the shell of the other side. */
static char *bridge_command(const char *socket)
{
    static const char begin[] = "emctl bridge --socket='", quote[] = "'\\''";
    size_t n = sizeof begin + 2;

    if (!socket)
        return strdup("emctl bridge");
    for (const char *c = socket; *c; c++)
        n += *c == '\'' ? sizeof quote - 1 : 1;
    char *command = malloc(n);
    if (!command)
        return NULL;
    char *end = stpcpy(command, begin);
    for (const char *c = socket; *c; c++)
        if (*c == '\'')
            end = stpcpy(end, quote);
        else
            *end++ = *c;
    strcpy(end, "'");
    return command;
}

__attribute__((noreturn)) static void run(const char *host, const char *command, bool unattended,
                                          int fd, int error_fd)
{
    const char *ssh = getenv("EDGEMIND_SSH");
    char timeout[32];

    snprintf(timeout, sizeof timeout, "ConnectTimeout=%d", REMOTE_CONNECT_SECONDS);
    if (!ssh || !*ssh)
        ssh = "ssh";
    if (dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
        (error_fd != STDERR_FILENO && dup2(error_fd, STDERR_FILENO) < 0))
        _exit(EXIT_FAILURE);
    /* Without ServerAliveInterval a host that has gone is noticed only after many minutes. */
    execlp(ssh, "ssh", "-xT", "-o", timeout, "-o", "ServerAliveInterval=5", "-o",
           unattended ? "BatchMode=yes" : "BatchMode=no", "--", host, command, (char *)NULL);
    dprintf(STDERR_FILENO, "emctl: cannot run %s: %s.\n", ssh, strerror(errno));
    _exit(SSH_FAILED);
}

int remote_start(struct remote *remote, const char *host, const char *socket, bool unattended,
                 int error_fd, int *ret_fd)
{
    _cleanup_(freep) char *command = bridge_command(socket), *copy = strdup(host);
    int fds[2];

    if (!command || !copy)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        run(host, command, unattended, fds[1], error_fd);
    int r = pid < 0 ? -errno : 0;
    close(fds[1]);
    if (r < 0) {
        close(fds[0]);
        return r;
    }
    *remote = (struct remote){.pid = pid, .host = TAKE_PTR(copy)};
    *ret_fd = fds[0];
    return 0;
}

int remote_wait(struct remote *remote)
{
    int status = 0;
    if (remote->pid == 0)
        return 0;
    struct pollfd end = {.fd = pidfd_open(remote->pid, 0), .events = POLLIN};

    if (end.fd < 0 || poll(&end, 1, LAST_WORDS_MSEC) <= 0)
        kill(remote->pid, SIGKILL);
    closep(&end.fd);
    while (waitpid(remote->pid, &status, 0) < 0 && errno == EINTR)
        ;
    free(remote->host);
    *remote = (struct remote){0};
    return status;
}

void remote_end(struct remote *remote)
{
    if (remote->pid == 0)
        return;
    kill(remote->pid, SIGTERM);
    remote_wait(remote);
}

const char *remote_failure(int status)
{
    if (!WIFEXITED(status))
        return NULL;
    switch (WEXITSTATUS(status)) {
    case SSH_FAILED:
        return "ssh cannot reach it";
    case NO_COMMAND:
        return "it has no emctl in ssh's PATH";
    case EXIT_NO_DAEMON:
        return "it has no daemon";
    case EXIT_PERMISSION_DENIED:
        return "its daemon does not admit this user";
    default:
        return NULL;
    }
}

int remote_report(struct remote *remote, int error)
{
    _cleanup_(freep) char *host = TAKE_PTR(remote->host);
    int status = remote_wait(remote);
    const char *failure = remote_failure(status);
    int r = failure && WEXITSTATUS(status) == EXIT_PERMISSION_DENIED ? EXIT_PERMISSION_DENIED
                                                                     : EXIT_NO_DAEMON;

    if (failure)
        error_message_print(r, "%s: %s.", host, failure);
    else
        error_message_print(r, "%s: the connection to its daemon broke: %s.", host,
                            error == -ECONNRESET ? "it hung up" : strerror(-error));
    return r;
}
