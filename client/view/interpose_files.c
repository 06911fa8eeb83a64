/* Replaces calls that write, so that the engine can write bytes of a view although the kernel
 * cannot read holes. */
#undef _FILE_OFFSET_BITS /* with it, pwrite would be a second pwrite64 where off_t has 32 bits */

#include "client/view/maker.h"
#include "client/view/real.h"
#include "client/view/views.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define EXPORT __attribute__((visibility("default")))

enum { TRIES = 1000 };

/* The common part of write(2), pwrite(2) and send(2). */
struct output {
    long number; /* of the system call */
    int fd;
    off64_t last; /* an offset, or flags */
};

static ssize_t put(const struct output *output, const void *bytes, size_t n_bytes, size_t done)
{
    if (output->number == SYS_sendto)
        return syscall(SYS_sendto, output->fd, bytes, n_bytes, (int)output->last, NULL, 0);
    if (output->number == SYS_write)
        return syscall(SYS_write, output->fd, bytes, n_bytes);
    /* The C library knows how the offset is passed with 32 bits. */
    struct iovec all = {(void *)(uintptr_t)bytes, n_bytes};
    return pwritev64(output->fd, &all, 1, output->last + (off64_t)done);
}

/* After a hole is filled, continues at its beginning. A datagram is sent again as a whole. */
static ssize_t put_all(const struct output *output, const void *bytes, size_t n_bytes)
{
    const unsigned char *at = bytes;
    size_t done = 0;

    ssize_t n = put(output, at, n_bytes, 0);
    if (!atomic_load(&views.started) || maker_is_inside())
        return n;
    for (unsigned tries = 0; tries < TRIES; tries++) {
        if (n > 0) {
            done += (size_t)n;
            tries = 0;
        } else if (n == 0 || errno != EFAULT)
            break;
        bool is_unit;
        const void *end = done < n_bytes ? views_stretch(at + done, &is_unit) : NULL;
        if (!end || (n < 0 && !is_unit))
            break;
        if (is_unit)
            (void)*(const volatile unsigned char *)(at + done);
        size_t left = n_bytes - done;
        if (left > (size_t)((const unsigned char *)end - (at + done)))
            left = (size_t)((const unsigned char *)end - (at + done));
        n = put(output, at + done, left, done);
    }
    return done > 0 ? (ssize_t)done : n;
}

EXPORT ssize_t write(int fd, const void *bytes, size_t n_bytes)
{
    return put_all(&(struct output){SYS_write, fd, 0}, bytes, n_bytes);
}

EXPORT ssize_t pwrite(int fd, const void *bytes, size_t n_bytes, off_t offset)
{
    return put_all(&(struct output){SYS_pwrite64, fd, offset}, bytes, n_bytes);
}

EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t n_bytes, off64_t offset)
{
    return put_all(&(struct output){SYS_pwrite64, fd, offset}, bytes, n_bytes);
}

EXPORT ssize_t send(int fd, const void *bytes, size_t n_bytes, int flags)
{
    return put_all(&(struct output){SYS_sendto, fd, flags}, bytes, n_bytes);
}
