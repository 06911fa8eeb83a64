/* Preloaded into a program, it makes the program believe that pages have 16 KiB, as they have in a
 * Raspberry Pi 5. Each such page is four pages of this system, so all calls of the kernel work. */
#include <dlfcn.h>
#include <stdint.h>
#include <sys/vfs.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { LARGE_PAGE_BYTES = 16384 };

EXPORT long sysconf(int name)
{
    if (name == _SC_PAGESIZE)
        return LARGE_PAGE_BYTES;
    return ((long (*)(int))(uintptr_t)dlsym(RTLD_NEXT, "sysconf"))(name);
}

EXPORT int getpagesize(void)
{
    return LARGE_PAGE_BYTES;
}

/* A file system in memory has the size of pages as its block size. */
EXPORT int fstatfs(int fd, struct statfs *ret)
{
    typedef int function(int, struct statfs *);
    int r = ((function *)(uintptr_t)dlsym(RTLD_NEXT, "fstatfs"))(fd, ret);
    if (r == 0 && ret->f_bsize == 4096)
        ret->f_bsize = LARGE_PAGE_BYTES;
    return r;
}
