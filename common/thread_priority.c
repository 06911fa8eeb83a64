/* Before Linux 6.12 the kernel ignores the slice of an ordinary thread, and reports 0. */
#include "common/thread_priority.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The first version of the kernel's struct sched_attr. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_nsec, deadline_nsec, period_nsec;
};
_Static_assert(sizeof(struct attributes) == 48, "SCHED_ATTR_SIZE_VER0");

bool thread_be_prompt(void)
{
    const uint64_t slice_nsec = THREAD_SLICE_USEC * 1000;
    struct attributes own = {0};

    if (syscall(SYS_sched_getattr, 0, &own, sizeof own, 0) < 0 || own.runtime_nsec == 0)
        return false;
    own.size = sizeof own;
    own.flags = 0;
    own.runtime_nsec = slice_nsec;
    return syscall(SYS_sched_setattr, 0, &own, 0) == 0 &&
           syscall(SYS_sched_getattr, 0, &own, sizeof own, 0) == 0 &&
           own.runtime_nsec == slice_nsec;
}

void thread_be_background(void)
{
    /* Every process may lower its priority, so a failure needs no handling: the thread would only
     * compete with the others. */
    (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &(struct sched_param){0});
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), THREAD_BACKGROUND_NICE);
}
