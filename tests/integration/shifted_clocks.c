/* Preloaded into a program, it shifts the program's clocks by what a file says, for clocks.py. The
 * wall clock can be set, and the clocks that cannot be set move on as while a process is stopped.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* In the file: by how many seconds. */
struct shifts {
    _Atomic int64_t set;     /* the wall clock */
    _Atomic int64_t stopped; /* all clocks */
    _Atomic int64_t asleep;  /* all but CLOCK_MONOTONIC */
};

static const struct shifts *shifts;

__attribute__((constructor)) static void open_shifts(void)
{
    const char *path = getenv("EDGEMIND_SHIFTED_CLOCKS");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *shifts, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        shifts = map;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *ret)
{
    typedef int function(clockid_t, struct timespec *);
    static function *next;
    if (!next)
        next = (function *)(uintptr_t)dlsym(RTLD_NEXT, "clock_gettime");
    int r = next(clock, ret);
    if (r != 0 || !shifts || clock == CLOCK_THREAD_CPUTIME_ID || clock == CLOCK_PROCESS_CPUTIME_ID)
        return r;
    ret->tv_sec += shifts->stopped;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        ret->tv_sec += shifts->set + shifts->asleep;
    else if (clock == CLOCK_BOOTTIME)
        ret->tv_sec += shifts->asleep;
    return 0;
}

EXPORT int gettimeofday(struct timeval *ret, void *timezone)
{
    struct timespec now;
    (void)timezone;
    clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

EXPORT time_t time(time_t *ret)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}
