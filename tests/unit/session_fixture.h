/* A verb of emctl with a scripted daemon in a thread: its standard error, its standard output, and
 * its exit code. */
#pragma once

#include "client/emctl/session.h"

#include <check.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TEXT_MAX = 8192 };

static char directory[] = "/tmp/test-session-XXXXXX";
static struct sockaddr_un address;
static int listener;

static inline void setup(void)
{
    strcpy(strrchr(directory, '-'), "-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
}

static inline int remove_file(const char *path, const struct stat *status, int type,
                              struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* With the files that a test has put there. */
static inline void teardown(void)
{
    close(listener);
    nftw(directory, remove_file, 4, FTW_DEPTH | FTW_PHYS);
}

enum { ANSWERS_MAX = 5 };

/* Takes one connection's calls, answers each with its message (`answer`, then `further`; NULL for
 * none, "" where none is waited for) and hangs up; the first answer carries `fd` if that is above
 * 0. With `interrupt` the user presses Ctrl-C instead, and the client is waited for. The
 * `successor`, if any, takes the next connection. */
struct daemon {
    const char *answer;
    const char *further[ANSWERS_MAX];
    int fd;
    bool interrupt;
    struct daemon *successor;
    char call[TEXT_MAX]; /* the last one */
    int n_fds;           /* that came with it */
    bool hung_up;        /* the client did */
};

/* A byte, and how many descriptors came with it. */
static inline bool receive_byte(int fd, char *ret, int *n_fds)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct iovec vector = {ret, 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};

    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != 1)
        return false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        int fds[8];
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(c), n * sizeof(int));
        for (size_t i = 0; i < n; i++)
            close(fds[i]);
        *n_fds += (int)n;
    }
    return true;
}

static inline bool receive_call(int fd, struct daemon *daemon)
{
    size_t n = 0;

    daemon->n_fds = 0;
    do
        if (!receive_byte(fd, daemon->call + n, &daemon->n_fds))
            return false;
    while (daemon->call[n++] != '\0' && n < sizeof daemon->call);
    return true;
}

static inline void answer(int fd, const char *text, int sent_fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec vector = {(char *)(uintptr_t)text, strlen(text) + 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

    if (*text == '\0')
        return;
    if (sent_fd > 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &sent_fd, sizeof sent_fd);
    }
    (void)!sendmsg(fd, &message, MSG_NOSIGNAL);
}

static inline void *serve(void *argument)
{
    struct daemon *daemon = argument;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (receive_call(fd, daemon) && daemon->answer)
        answer(fd, daemon->answer, daemon->fd);
    for (size_t i = 0; i < ANSWERS_MAX && daemon->further[i] && receive_call(fd, daemon); i++)
        answer(fd, daemon->further[i], -1);
    if (daemon->interrupt) {
        char byte;
        kill(getpid(), SIGINT);
        daemon->hung_up = recv(fd, &byte, 1, 0) == 0;
    }
    close(fd);
    return daemon->successor ? serve(daemon->successor) : NULL;
}

/* Points descriptor `to` at a new file; the old one is in `ret_saved`. */
static inline FILE *divert(int to, int *ret_saved)
{
    FILE *file = tmpfile();
    fflush(NULL);
    *ret_saved = dup(to);
    dup2(fileno(file), to);
    return file;
}

static inline void restore(int to, int saved, FILE *file, char text[static TEXT_MAX])
{
    fflush(NULL);
    dup2(saved, to);
    close(saved);
    rewind(file);
    text[fread(text, 1, TEXT_MAX - 1, file)] = '\0';
    fclose(file);
}

static char out[TEXT_MAX], err[TEXT_MAX];

/* Runs the verb; `out` and `err` then hold what it printed. Returns the exit code. */
static inline int run(int (*verb)(struct session *), struct arguments arguments,
                      struct daemon *daemon)
{
    pthread_t thread;
    sigset_t all, before;
    struct session session;
    int saved_out, saved_err;

    arguments.socket = address.sun_path;
    if (daemon) { /* its thread takes no signals */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        ck_assert_int_eq(pthread_create(&thread, NULL, serve, daemon), 0);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    FILE *file_out = divert(STDOUT_FILENO, &saved_out),
         *file_err = divert(STDERR_FILENO, &saved_err);
    session_init(&session, &arguments);
    int status = session_end(&session, verb(&session));
    restore(STDERR_FILENO, saved_err, file_err, err);
    restore(STDOUT_FILENO, saved_out, file_out, out);
    if (daemon)
        pthread_join(thread, NULL);
    return status;
}

#define MANAGER "io.edgemind.manager."
#define SERVICE "org.varlink.service."
