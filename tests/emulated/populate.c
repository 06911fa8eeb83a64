/* Preloaded into an emulator that accepts madvise(MADV_POPULATE_WRITE) but ignores it. Faults in
 * every page of a shared mapping. The kernel does this by copying a byte out of each page, so that
 * missing memory gives EFAULT, as it should, and no SIGBUS. */
#include <errno.h>
#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int madvise(void *address, size_t n_bytes, int advice)
{
    if (syscall(SYS_madvise, address, n_bytes, advice) < 0)
        return -1;
    if (advice != MADV_POPULATE_WRITE)
        return 0;

    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    int error = 0, sink = memfd_create("populate", MFD_CLOEXEC);
    for (size_t i = 0; sink >= 0 && error == 0 && i < n_bytes; i += page_bytes)
        if (pwrite(sink, (const char *)address + i, 1, 0) < 0)
            error = errno;
    if (sink < 0)
        return -1;
    close(sink);
    errno = error;
    return error ? -1 : 0;
}
