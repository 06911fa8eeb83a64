/* Imports: one job of one step each. What the parsers allocated is given back to the system before
 * the result travels, and a result that is not kept afterwards, so that a large header leaves no
 * trace in the daemon's RSS. */
#include "daemon/weights/model_reader.h"

#include <errno.h>
#include <malloc.h>

struct import {
    struct job job;
    struct workers *workers;
    struct model_source source;
    struct model_read_result result;
    import_done done; /* NULL once cancelled */
    void *context;
};

static int import_step(struct job *job, uint64_t index)
{
    struct import *import = (struct import *)job;
    (void)index;
    int r = model_source_read(&import->source, &import->result);
    model_source_done(&import->source);
    malloc_trim(0);
    return r;
}

static void import_finish(struct job *job, int error)
{
    struct import *import = (struct import *)job;
    if (import->done)
        import->done(error, &import->result, import->context);
    definition_unref(import->result.definition);
    model_source_done(&import->source);
    free(import);
    malloc_trim(0); /* a definition that nobody keeps may be large */
}

int import_start(struct workers *workers, struct model_source *source, import_done done,
                 void *context, struct import **ret)
{
    struct import *import = calloc(1, sizeof *import);
    if (!import) {
        model_source_done(source);
        return -ENOMEM;
    }
    *import = (struct import){
        .job = {.n_steps = 1, .step = import_step, .done = import_finish},
        .workers = workers,
        .source = *source,
        .done = done,
        .context = context,
    };
    *source = MODEL_SOURCE_NONE;
    *ret = import;
    workers_submit(workers, &import->job);
    return 0;
}

void import_cancel(struct import *import)
{
    import->done = NULL;
    workers_cancel(import->workers, &import->job);
}
