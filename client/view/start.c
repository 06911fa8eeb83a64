/* The server's thread starts the others, so that all share its table of descriptors. */
#include "client/view/start.h"

#include "client/view/helper.h"
#include "client/view/own_table.h"
#include "client/view/server.h"
#include "client/view/thread.h"
#include "client/view/views.h"
#include "common/thread_priority.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/eventfd.h>

struct start {
    sem_t done;
    int result;
};

static int prepare(void)
{
    int r = own_table_make();
    if (r < 0)
        return r;
    views.wake_fd = eventfd(0, EFD_CLOEXEC);
    if (views.wake_fd < 0)
        return -errno;
    r = faults_start(&views.faults, getenv("EDGEMIND_VIEW_FAULTS"), views_report);
    return r < 0 ? r : helper_start();
}

static void *run(void *context)
{
    struct start *start = context;
    (void)thread_be_prompt(); /* the engine's threads may spin while they wait */
    int r = prepare();

    start->result = r;
    sem_post(&start->done);
    if (r == 0)
        server_run();
    return NULL;
}

int start_threads(void)
{
    struct start start = {0};

    sem_init(&start.done, 0, 0);
    int r = thread_start(run, &start, 256 << 10);
    while (r == 0 && sem_wait(&start.done) < 0)
        ; /* a signal */
    sem_destroy(&start.done);
    return r < 0 ? r : start.result;
}
