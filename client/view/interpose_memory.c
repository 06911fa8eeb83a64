/* Replaces mmap and related calls of the engine. A mapping of a model's file becomes a view. Before
 * the engine changes a part of a view, that part becomes a mapping of the plain file, so that the
 * kernel can make the change. */
#undef _FILE_OFFSET_BITS /* with it, mmap would be a second mmap64 where off_t has 32 bits */

#include "client/view/maker.h"
#include "client/view/real.h"
#include "client/view/views.h"

#include <errno.h>
#include <stdarg.h>

#define EXPORT __attribute__((visibility("default")))

enum { VIEW_BYTES_MIN = 1 << 20 };

static bool may_be_view(const void *at, size_t n_bytes, int prot, int flags, int fd, off64_t offset)
{
    int type = flags & MAP_TYPE;
    (void)at;
    return fd >= 0 && n_bytes >= VIEW_BYTES_MIN && prot == PROT_READ && offset >= 0 &&
           (type == MAP_SHARED || type == MAP_PRIVATE) &&
           !(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_ANONYMOUS)) && !maker_is_inside() &&
           !atomic_load(&views.disabled);
}

/* True: the lock is held, and the caller must release it. */
static bool retire(const void *at, size_t n_bytes)
{
    if (!atomic_load(&views.started) || atomic_load(&views.disabled) || maker_is_inside())
        return false;
    views_lock();
    if (!views_overlap(at, n_bytes)) {
        views_unlock();
        return false;
    }
    views_retire(at, n_bytes);
    return true;
}

static bool is_viewed(const void *at, size_t n_bytes)
{
    if (!atomic_load(&views.started) || atomic_load(&views.disabled) || maker_is_inside())
        return false;
    views_lock();
    bool viewed = views_overlap(at, n_bytes);
    views_unlock();
    return viewed;
}

EXPORT void *mmap64(void *at, size_t n_bytes, int prot, int flags, int fd, off64_t offset)
{
    if (may_be_view(at, n_bytes, prot, flags, fd, offset)) {
        void *view = maker_map(n_bytes, prot, flags, fd, offset);
        if (view)
            return view;
    }
    bool locked = (flags & MAP_FIXED) && retire(at, n_bytes);
    void *mapped = real_mmap(at, n_bytes, prot, flags, fd, offset);
    if (locked)
        views_unlock();
    return mapped;
}

EXPORT void *mmap(void *at, size_t n_bytes, int prot, int flags, int fd, off_t offset)
{
    return mmap64(at, n_bytes, prot, flags, fd, offset);
}

EXPORT int munmap(void *at, size_t n_bytes)
{
    bool locked = retire(at, n_bytes);
    int r = real_munmap(at, n_bytes);
    if (locked)
        views_unlock();
    return r;
}

EXPORT int mprotect(void *at, size_t n_bytes, int prot)
{
    if (prot == PROT_READ && is_viewed(at, n_bytes))
        return 0;
    bool locked = retire(at, n_bytes);
    int r = real_mprotect(at, n_bytes, prot);
    if (locked)
        views_unlock();
    return r;
}

EXPORT void *mremap(void *at, size_t n_old, size_t n_new, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(arguments, void *) : NULL;
    va_end(arguments);

    bool locked = retire(at, n_old);
    if (to && locked)
        views_retire(to, n_new);
    else if (to)
        locked = retire(to, n_new);
    void *moved = real_mremap(at, n_old, n_new, flags, to);
    if (locked)
        views_unlock();
    return moved;
}

/* Advice and locks are ignored for views: the library decides which pages are mapped, and the arena
 * decides about swapping. */
EXPORT int madvise(void *at, size_t n_bytes, int advice)
{
    return is_viewed(at, n_bytes) ? 0 : real_madvise(at, n_bytes, advice);
}

EXPORT int posix_madvise(void *at, size_t n_bytes, int advice)
{
    if (is_viewed(at, n_bytes) || advice == POSIX_MADV_DONTNEED)
        return 0;
    return real_madvise(at, n_bytes, advice) == 0 ? 0 : errno;
}

EXPORT int mlock(const void *at, size_t n_bytes)
{
    return is_viewed(at, n_bytes) ? 0 : (int)syscall(SYS_mlock, at, n_bytes);
}

EXPORT int mlock2(const void *at, size_t n_bytes, unsigned flags)
{
    return is_viewed(at, n_bytes) ? 0 : (int)syscall(SYS_mlock2, at, n_bytes, flags);
}

EXPORT int munlock(const void *at, size_t n_bytes)
{
    return is_viewed(at, n_bytes) ? 0 : (int)syscall(SYS_munlock, at, n_bytes);
}
