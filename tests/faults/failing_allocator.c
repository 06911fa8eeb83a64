/* Makes allocations of the daemon fail, for tests/faults.
 *
 * Replaces malloc, calloc and realloc of the whole process, for the daemon, jansson, libevent and
 * libc itself (strdup, asprintf). EDGEMIND_FAULTS names a file of three numbers that the test also
 * maps; while the daemon runs, the test sets there which allocations fail. Without this variable
 * none fails. Needs the GNU C library, whose own allocator does the work. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t n_bytes);
void *__libc_calloc(size_t n, size_t n_bytes);
void *__libc_realloc(void *old, size_t n_bytes);

#define EXPORTED __attribute__((visibility("default")))

static struct faults {
    _Atomic uint64_t n_allocations; /* so far */
    _Atomic uint64_t first, end;    /* the n-th fails if first <= n < end */
} * faults;

__attribute__((constructor)) static void open_faults(void)
{
    const char *path = getenv("EDGEMIND_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        abort();
    faults = map;
}

static int fails(void)
{
    if (!faults)
        return 0;
    uint64_t n = atomic_fetch_add(&faults->n_allocations, 1);
    if (n < faults->first || n >= faults->end)
        return 0;
    errno = ENOMEM;
    return 1;
}

EXPORTED void *malloc(size_t n_bytes)
{
    return fails() ? NULL : __libc_malloc(n_bytes);
}

EXPORTED void *calloc(size_t n, size_t n_bytes)
{
    return fails() ? NULL : __libc_calloc(n, n_bytes);
}

EXPORTED void *realloc(void *old, size_t n_bytes)
{
    return fails() ? NULL : __libc_realloc(old, n_bytes);
}
