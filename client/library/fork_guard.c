/* Owns the process's list of guarded sockets. The list and its lock are global, because a fork
 * affects all threads. fork() takes the lock, so that the child's list is consistent.
 *
 * vfork() and posix_spawn() run no handlers; after them close-on-exec closes the copies. A raw
 * clone(2) runs no handlers either; then only the process id shows that this is a child. */
#include "client/library/fork_guard.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static LIST_HEAD(guarded_sockets, guarded_socket) sockets = LIST_HEAD_INITIALIZER(sockets);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* Whether the number still has the socket. The socket may be in another thread's table of
 * descriptors, or the program may have closed it. Then a file of the program may have the number.
 */
static bool has_socket(const struct guarded_socket *guarded)
{
    struct stat status;
    return guarded->fd >= 0 && fstat(guarded->fd, &status) == 0 && S_ISSOCK(status.st_mode) &&
           status.st_ino == guarded->inode;
}

/* Runs in the child. The parent's descriptor and the connection stay open. */
static void in_child(void)
{
    struct guarded_socket *guarded;

    LIST_FOREACH (guarded, &sockets, entry) {
        if (has_socket(guarded))
            close(guarded->fd);
        guarded->fd = -1;
    }
    pthread_mutex_unlock(&lock);
}

static void install(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

void guarded_socket_init(struct guarded_socket *guarded, int fd)
{
    struct stat status = {0};

    (void)fstat(fd, &status);
    pthread_once(&once, install);
    pthread_mutex_lock(&lock);
    *guarded = (struct guarded_socket){.fd = fd, .inode = status.st_ino, .pid = getpid()};
    LIST_INSERT_HEAD(&sockets, guarded, entry);
    pthread_mutex_unlock(&lock);
}

void guarded_socket_done(struct guarded_socket *guarded)
{
    pthread_mutex_lock(&lock);
    LIST_REMOVE(guarded, entry);
    if (guarded->fd >= 0)
        close(guarded->fd);
    guarded->fd = -1;
    pthread_mutex_unlock(&lock);
}

bool guarded_socket_is_parents(const struct guarded_socket *guarded)
{
    return guarded->pid != getpid();
}
