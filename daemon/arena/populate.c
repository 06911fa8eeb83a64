#include "daemon/arena/populate.h"

#include "daemon/system/workers.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum {
    STEP_BYTES = 8 << 20, /* short enough to divide even a small arena among the cores */
    THREADS_MAX = 64
};

int populate(unsigned char *begin, uint64_t n_bytes, uint64_t page_bytes)
{
    while (madvise(begin, n_bytes, MADV_POPULATE_WRITE) < 0) {
        if (errno == EINTR || errno == EAGAIN)
            continue;
        if (errno == EFAULT)
            return -ENOMEM; /* the system had no memory left */
        if (errno != EINVAL)
            return -errno;
        /* Linux before 5.14. */
        for (uint64_t i = 0; i < n_bytes; i += page_bytes) {
            volatile unsigned char *byte = begin + i;
            unsigned char same = *byte;
            *byte = same;
        }
        return 0;
    }
    return 0;
}

struct populating {
    struct job job; /* first, so that the job's address is this one's */
    unsigned char *begin;
    uint64_t n_bytes, step_bytes, page_bytes;
    int error;
    bool over;
};

static int step(struct job *job, uint64_t index)
{
    struct populating *populating = (struct populating *)job;
    uint64_t offset_bytes = index * populating->step_bytes;
    uint64_t rest_bytes = populating->n_bytes - offset_bytes;
    return populate(populating->begin + offset_bytes,
                    rest_bytes < populating->step_bytes ? rest_bytes : populating->step_bytes,
                    populating->page_bytes);
}

static void done(struct job *job, int error)
{
    struct populating *populating = (struct populating *)job;
    populating->error = error;
    populating->over = true;
}

int populate_on_all_cores(unsigned char *begin, uint64_t n_bytes, uint64_t page_bytes)
{
    uint64_t step_bytes = page_bytes > STEP_BYTES ? page_bytes : (uint64_t)STEP_BYTES;
    struct populating populating = {
        .job = {.n_steps = (n_bytes - 1) / step_bytes + 1, .step = step, .done = done},
        .begin = begin,
        .n_bytes = n_bytes,
        .step_bytes = step_bytes,
        .page_bytes = page_bytes,
    };
    cpu_set_t cpus;
    uint64_t n_threads = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    if (n_threads > THREADS_MAX)
        n_threads = THREADS_MAX;
    if (n_threads > populating.job.n_steps)
        n_threads = populating.job.n_steps;

    _cleanup_(workers_freep) struct workers *workers = NULL;
    int r = workers_new((unsigned)n_threads, false, &workers);
    if (r < 0)
        return r;
    workers_submit(workers, &populating.job);
    struct pollfd ready = {.fd = workers_fd(workers), .events = POLLIN};
    while (!populating.over)
        if (poll(&ready, 1, -1) > 0)
            workers_dispatch(workers);
    return populating.error;
}
