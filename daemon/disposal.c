#include "daemon/disposal.h"

#include "daemon/system/workers.h"

#include <malloc.h>

struct disposal {
    struct job job;
    struct model *model;
};

/* Unused memory of the heap counts in the budget, too. */
static int free_step(struct job *job, uint64_t index)
{
    struct disposal *disposal = (struct disposal *)job;
    (void)index;
    disposal->model = model_free(disposal->model, NULL);
    malloc_trim(0);
    return 0;
}

/* If the pool ends, the step may not have run. */
static void done(struct job *job, int error)
{
    (void)error;
    model_free(((struct disposal *)job)->model, NULL);
    free(job);
}

void disposal_of_model(struct model *model, void *workers)
{
    struct disposal *disposal = calloc(1, sizeof *disposal);
    if (!disposal) {
        model_free(model, NULL);
        return;
    }
    *disposal = (struct disposal){{.n_steps = 1, .step = free_step, .done = done}, model};
    workers_submit(workers, &disposal->job);
}
