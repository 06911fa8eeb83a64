/* Makes allocations of the daemon fail, for tests/faults.
 *
 * Replaces malloc, calloc and realloc of the whole process, for the daemon, jansson, libevent and
 * libc itself (strdup, asprintf). Without EDGEMIND_FAULTS none fails. Needs the GNU C library,
 * whose own allocator does the work. */
#include "tests/faults/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t n_bytes);
void *__libc_calloc(size_t n, size_t n_bytes);
void *__libc_realloc(void *old, size_t n_bytes);
void __libc_free(void *old);

#define EXPORTED __attribute__((visibility("default")))

struct faults *faults;

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

/* Counts what is in use. Before `faults` is set nothing is counted, so the sum may be too small by
 * what was allocated until then. */
static void *count(void *got)
{
    if (faults && got)
        atomic_fetch_add(&faults->n_live, 1);
    return got;
}

EXPORTED void *malloc(size_t n_bytes)
{
    return fails() ? NULL : count(__libc_malloc(n_bytes));
}

EXPORTED void *calloc(size_t n, size_t n_bytes)
{
    return fails() ? NULL : count(__libc_calloc(n, n_bytes));
}

EXPORTED void *realloc(void *old, size_t n_bytes)
{
    if (fails())
        return NULL;
    void *got = __libc_realloc(old, n_bytes);
    return old ? got : count(got);
}

EXPORTED void free(void *old)
{
    int error = errno;

    if (faults && old)
        atomic_fetch_sub(&faults->n_live, 1);
    __libc_free(old);
    errno = error;
}
