/* Measures the turns of the daemon's event loop, for loop.py.
 *
 * It is preloaded into the daemon, and replaces epoll_wait of the main thread: a turn begins when
 * epoll_wait returns, and ends when the loop calls it again. EDGEMIND_LOOP_TURNS names a file of a
 * struct turns, which the benchmark maps, too. The CPU time of a turn is the loop's own work; the
 * time by the clock includes the time in which other threads had the CPU. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

/* The longest turn since the benchmark last wrote zeros. */
static struct turns {
    _Atomic uint64_t cpu_nsec, clock_nsec;
} * turns;

static int (*wait_for_events)(int, struct epoll_event *, int, int);
static uint64_t cpu_began_nsec, clock_began_nsec; /* 0: no turn has begun */

__attribute__((constructor)) static void open_turns(void)
{
    const char *path = getenv("EDGEMIND_LOOP_TURNS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

    *(void **)&wait_for_events = dlsym(RTLD_NEXT, "epoll_wait");
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *turns, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        turns = map;
}

static uint64_t now_nsec(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void raise_to(_Atomic uint64_t *longest_nsec, uint64_t nsec)
{
    if (*longest_nsec < nsec)
        *longest_nsec = nsec;
}

EXPORTED int epoll_wait(int fd, struct epoll_event *events, int n_events, int timeout)
{
    if (!turns || gettid() != getpid())
        return wait_for_events(fd, events, n_events, timeout);
    if (clock_began_nsec > 0) {
        raise_to(&turns->cpu_nsec, now_nsec(CLOCK_THREAD_CPUTIME_ID) - cpu_began_nsec);
        raise_to(&turns->clock_nsec, now_nsec(CLOCK_MONOTONIC) - clock_began_nsec);
    }
    int n = wait_for_events(fd, events, n_events, timeout);
    clock_began_nsec = now_nsec(CLOCK_MONOTONIC);
    cpu_began_nsec = now_nsec(CLOCK_THREAD_CPUTIME_ID);
    return n;
}
