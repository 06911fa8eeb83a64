/* Makes system calls of the daemon fail, take long, or do less than they were asked, for
 * tests/faults.
 *
 * Replaces the C library's functions for the daemon and its libraries. It cannot reach the calls
 * that the C library makes itself, as fopen or getgrnam do. */
#include "tests/faults/faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

enum { NO_FAULT = 0, LESS = -1, DIRECT_BLOCK_BYTES = 4096 };

/* Returns an errno, NO_FAULT or LESS. */
static int fault(const char *name)
{
    struct call_faults *call = faults ? &faults->call : NULL;

    if (!call || call->end == 0 || strcmp(call->name, name) != 0)
        return NO_FAULT;
    uint64_t n = atomic_fetch_add(&call->n_calls, 1);
    if (n < call->first || n >= call->end)
        return NO_FAULT;
    if (call->value > 0)
        return (int)call->value;
    if (call->value == 0)
        return LESS;
    int64_t usec = -call->value;
    struct timespec time = {usec / 1000000, usec % 1000000 * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR)
        ;
    return NO_FAULT;
}

static void *find(void **found, const char *name)
{
    if (!*found)
        *found = dlsym(RTLD_NEXT, name);
    return *found;
}

/* A part of `n_bytes`. A file system that reads directly does whole blocks, unless the file ends.
 */
static size_t part(size_t n_bytes)
{
    size_t half = n_bytes / 2;
    return half >= DIRECT_BLOCK_BYTES ? half & ~(size_t)(DIRECT_BLOCK_BYTES - 1) : n_bytes;
}

/* `less` changes the arguments so that the call does less. */
#define WRAP_LESS(result, name, less, arguments, ...)                \
    EXPORTED result name arguments                                   \
    {                                                                \
        static void *real;                                           \
        int r = fault(#name);                                        \
        if (r > 0) {                                                 \
            errno = r;                                               \
            return (result)-1;                                       \
        }                                                            \
        if (r == LESS) {                                             \
            less;                                                    \
        }                                                            \
        return ((__typeof__(&name))find(&real, #name))(__VA_ARGS__); \
    }
#define WRAP(result, name, arguments, ...) WRAP_LESS(result, name, , arguments, __VA_ARGS__)

/* Files. */
WRAP_LESS(ssize_t, read, n = 1, (int fd, void *to, size_t n), fd, to, n)
WRAP_LESS(ssize_t, pread, n = part(n), (int fd, void *to, size_t n, off_t at), fd, to, n, at)
WRAP_LESS(ssize_t, pwrite, n = (n + 1) / 2, (int fd, const void *from, size_t n, off_t at), fd,
          from, n, at)
WRAP(ssize_t, preadv2, (int fd, const struct iovec *to, int n, off_t at, int flags), fd, to, n, at,
     flags)
WRAP(int, fstat, (int fd, struct stat *to), fd, to)
WRAP(int, stat, (const char *path, struct stat *to), path, to)
WRAP(int, statx, (int at, const char *path, int flags, unsigned mask, struct statx *to), at, path,
     flags, mask, to)
WRAP(int, fstatfs, (int fd, struct statfs *to), fd, to)
WRAP(int, ftruncate, (int fd, off_t n), fd, n)
WRAP(int, fallocate, (int fd, int mode, off_t at, off_t n), fd, mode, at, n)
WRAP(int, fchmod, (int fd, mode_t mode), fd, mode)
WRAP(ssize_t, readlink, (const char *path, char *to, size_t n), path, to, n)
WRAP(int, memfd_create, (const char *name, unsigned flags), name, flags)

/* Memory. */
WRAP(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t offset), at, n, prot,
     flags, fd, offset)
WRAP(int, madvise, (void *at, size_t n, int advice), at, n, advice)

/* Sockets. */
static struct msghdr *one_byte(const struct msghdr *message)
{
    static _Thread_local struct msghdr copy;
    static _Thread_local struct iovec first;

    copy = *message;
    first = copy.msg_iov[0];
    first.iov_len = first.iov_len > 0;
    copy.msg_iov = &first;
    copy.msg_iovlen = 1;
    return &copy;
}
WRAP(int, socket, (int family, int type, int protocol), family, type, protocol)
WRAP(int, bind, (int fd, const struct sockaddr *to, socklen_t n), fd, to, n)
WRAP(int, listen, (int fd, int n), fd, n)
WRAP(int, accept4, (int fd, struct sockaddr *from, socklen_t *n, int flags), fd, from, n, flags)
WRAP(int, connect, (int fd, const struct sockaddr *to, socklen_t n), fd, to, n)
WRAP(ssize_t, send, (int fd, const void *from, size_t n, int flags), fd, from, n, flags)
WRAP(ssize_t, sendto,
     (int fd, const void *from, size_t n, int flags, const struct sockaddr *to, socklen_t n_to), fd,
     from, n, flags, to, n_to)
WRAP_LESS(ssize_t, recv, n = 1, (int fd, void *to, size_t n, int flags), fd, to, n, flags)
WRAP_LESS(ssize_t, sendmsg, message = one_byte(message),
          (int fd, const struct msghdr *message, int flags), fd, message, flags)
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), fd, message, flags)
WRAP_LESS(ssize_t, readv, n = 1, (int fd, const struct iovec *to, int n), fd, to, n)
WRAP(ssize_t, writev, (int fd, const struct iovec *from, int n), fd, from, n)
WRAP(int, getsockopt, (int fd, int level, int name, void *to, socklen_t *n), fd, level, name, to, n)
WRAP(int, setsockopt, (int fd, int level, int name, const void *from, socklen_t n), fd, level, name,
     from, n)

/* Events, threads and processes. */
WRAP(int, epoll_create1, (int flags), flags)
WRAP(int, epoll_wait, (int epoll, struct epoll_event *events, int n, int msec), epoll, events, n,
     msec)
WRAP(int, eventfd, (unsigned count, int flags), count, flags)
WRAP(int, timerfd_create, (clockid_t clock, int flags), clock, flags)
WRAP(int, poll, (struct pollfd * fds, nfds_t n, int msec), fds, n, msec)
WRAP(int, pidfd_open, (pid_t pid, unsigned flags), pid, flags)
WRAP(ssize_t, getrandom, (void *to, size_t n, unsigned flags), to, n, flags)

/* These take an argument that may be missing. */
#define WRAP_OPEN(name, arguments, ...)                                         \
    EXPORTED int name arguments                                                 \
    {                                                                           \
        static void *real;                                                      \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                           \
        int r = fault(#name);                                                   \
        if (r <= 0)                                                             \
            return ((__typeof__(&name))find(&real, #name))(__VA_ARGS__, mode);  \
        errno = r;                                                              \
        return -1;                                                              \
    }
WRAP_OPEN(open, (const char *path, int flags, ...), path, flags)
WRAP_OPEN(openat, (int at, const char *path, int flags, ...), at, path, flags)

/* A single byte is what libevent's handler of signals writes into its own socket, which has room.
 */
EXPORTED ssize_t write(int fd, const void *from, size_t n)
{
    static void *real;
    int r = n == 1 ? NO_FAULT : fault("write");
    if (r <= 0)
        return ((__typeof__(&write))find(&real, "write"))(fd, from, r == LESS ? (n + 1) / 2 : n);
    errno = r;
    return -1;
}

/* The kernel needs memory only to add. */
EXPORTED int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
    static void *real;
    int r = what == EPOLL_CTL_ADD ? fault("epoll_ctl") : NO_FAULT;
    if (r <= 0)
        return ((__typeof__(&epoll_ctl))find(&real, "epoll_ctl"))(epoll, what, fd, event);
    errno = r;
    return -1;
}

EXPORTED int fcntl(int fd, int command, ...)
{
    static void *real;
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *); /* an int goes the same way */
    va_end(rest);
    int r = fault("fcntl");
    if (r <= 0)
        return ((__typeof__(&fcntl))find(&real, "fcntl"))(fd, command, argument);
    errno = r;
    return -1;
}

EXPORTED int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                            void *(*run)(void *), void *context)
{
    static void *real;
    int r = fault("pthread_create");
    return r > 0 ? r
                 : ((__typeof__(&pthread_create))find(&real, "pthread_create"))(thread, attributes,
                                                                                run, context);
}
