/* The original calls that this library replaces. Errors are those of the C library. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static inline void *real_mmap(void *at, size_t n_bytes, int prot, int flags, int fd, off64_t offset)
{
#ifdef SYS_mmap2 /* 32 bits: the offset is in units, of which the last may be below 2^44 */
    enum { UNIT_BYTES = 4096 };
    if (offset < 0 || offset % UNIT_BYTES != 0 || offset >> 32 >= UNIT_BYTES) {
        errno = offset % UNIT_BYTES != 0 ? EINVAL : EOVERFLOW;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap2, at, n_bytes, prot, flags, fd, (long)(offset / UNIT_BYTES));
#else
    return (void *)syscall(SYS_mmap, at, n_bytes, prot, flags, fd, offset);
#endif
}

static inline int real_munmap(void *at, size_t n_bytes)
{
    return (int)syscall(SYS_munmap, at, n_bytes);
}

static inline void *real_mremap(void *at, size_t n_old, size_t n_new, int flags, void *to)
{
    return (void *)syscall(SYS_mremap, at, n_old, n_new, flags, to);
}

static inline int real_mprotect(void *at, size_t n_bytes, int prot)
{
    return (int)syscall(SYS_mprotect, at, n_bytes, prot);
}

static inline int real_madvise(void *at, size_t n_bytes, int advice)
{
    return (int)syscall(SYS_madvise, at, n_bytes, advice);
}
