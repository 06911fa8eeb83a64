#include "daemon/arena/memory_map.h"

#include "common/cleanup.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

unsigned char *memory_map(int fd, uint64_t n_bytes, uint64_t align_bytes)
{
    size_t span;
    if (__builtin_add_overflow(n_bytes, align_bytes, &span)) {
        errno = ENOMEM;
        return NULL;
    }
    unsigned char *begin =
        mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (begin == MAP_FAILED)
        return NULL;
    uint64_t before = (align_bytes - (uintptr_t)begin % align_bytes) % align_bytes;
    /* The mapping is read-only at first, because a writable mapping of hugetlbfs would make the
     * file as long as the mapping. The pool's pages are reserved for it all the same. */
    unsigned char *base = mmap(begin + before, n_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    if (base == MAP_FAILED || mprotect(base, n_bytes, PROT_READ | PROT_WRITE) < 0) {
        int error = errno;
        munmap(begin, span);
        errno = error;
        return NULL;
    }
    if (before > 0)
        munmap(begin, before);
    if (span - before > n_bytes)
        munmap(base + n_bytes, span - before - n_bytes);
    return base;
}

bool memory_map_probe_huge(size_t huge_bytes)
{
    _cleanup_(closep) int fd = memfd_create("edgemind-probe", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)huge_bytes) < 0)
        return false;
    unsigned char *base = memory_map(fd, huge_bytes, huge_bytes);
    if (!base)
        return false;
    struct stat status;
    bool obtained = madvise(base, huge_bytes, MADV_HUGEPAGE) == 0 &&
                    (*(volatile unsigned char *)base = 1) && fstat(fd, &status) == 0 &&
                    (uint64_t)status.st_blocks * 512 >= huge_bytes;
    munmap(base, huge_bytes);
    return obtained;
}
