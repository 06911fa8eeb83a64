/* Preloaded into a program, it makes the program believe that pages have 16 KiB, as they have in a
 * Raspberry Pi 5, or $TEST_PAGE_BYTES. Each such page is several pages of this system, so
 * all calls of the kernel work. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { LARGE_PAGE_BYTES = 16384 };

static int page_bytes(void)
{
    const char *text = getenv("TEST_PAGE_BYTES");
    return text ? atoi(text) : LARGE_PAGE_BYTES;
}

EXPORT long sysconf(int name)
{
    if (name == _SC_PAGESIZE)
        return page_bytes();
    return ((long (*)(int))(uintptr_t)dlsym(RTLD_NEXT, "sysconf"))(name);
}

EXPORT int getpagesize(void)
{
    return page_bytes();
}

/* A file system in memory has the size of pages as its block size. */
EXPORT int fstatfs(int fd, struct statfs *ret)
{
    typedef int function(int, struct statfs *);
    int r = ((function *)(uintptr_t)dlsym(RTLD_NEXT, "fstatfs"))(fd, ret);
    if (r == 0 && ret->f_bsize == 4096)
        ret->f_bsize = page_bytes();
    return r;
}
