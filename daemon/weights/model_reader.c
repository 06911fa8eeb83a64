/* Each read is a job of one step. A large header must not enlarge the daemon's RSS. So the parsers'
 * memory goes back to the system before the result goes to the loop. A second job frees the result
 * if it is not kept, and gives its memory back, because that takes long for a large model. */
#include "daemon/weights/model_reader.h"

#include "common/log.h"

#include <errno.h>
#include <malloc.h>

struct model_reader {
    struct job job;
    struct workers *workers;
    struct model_source source;
    struct memory_use *use; /* until it is in the result; the source borrows it. NULL: no bound */
    const struct model_preparation *preparation;
    struct model_read_result result;
    model_reader_done done;       /* NULL once cancelled */
    void (*ended)(void *context); /* NULL unless cancelled */
    void *context;
};

static int prepare(struct model_reader *reader)
{
    struct memory_budget *budget = reader->use ? &reader->use->budget : NULL;
    memory_budget_use(budget);
    bool may = memory_budget_take(model_bytes(reader->result.definition->n_layers));
    memory_budget_use(NULL);
    if (!may)
        return -EDQUOT;
    reader->result.model = model_new(reader->result.definition);
    if (!reader->result.model) {
        reader->result.operation = "register";
        return -ENOMEM;
    }
    reader->preparation->prepare(reader->result.definition, reader->preparation->context);
    return 0;
}

static int import_step(struct job *job, uint64_t index)
{
    struct model_reader *reader = (struct model_reader *)job;
    (void)index;
    int r = model_parse(&reader->source, &reader->result);
    reader->source.use = NULL;
    model_source_done(&reader->source);
    malloc_trim(0);
    return r == 0 && reader->preparation ? prepare(reader) : r;
}

static void dispose(struct model_reader *reader)
{
    struct memory_use *use = reader->result.use;
    model_free(reader->result.model, NULL);
    definition_unref(reader->result.definition);
    model_source_done(&reader->source);
    reader->result = (struct model_read_result){.use = use};
}

static int dispose_step(struct job *job, uint64_t index)
{
    struct model_reader *reader = (struct model_reader *)job;
    (void)index;
    dispose(reader);
    malloc_trim(0);
    reader->result.use = memory_use_free(reader->result.use);
    return 0;
}

/* If the pool ends, the step may not have run. */
static void disposed(struct job *job, int error)
{
    struct model_reader *reader = (struct model_reader *)job;
    (void)error;
    dispose(reader);
    memory_use_free(reader->result.use);
    free(reader);
}

static void import_finish(struct job *job, int error)
{
    struct model_reader *reader = (struct model_reader *)job;
    reader->result.use = TAKE_PTR(reader->use);
    reader->source.use = NULL; /* the step may not have run */
    if (reader->done)
        reader->done(error, &reader->result, reader->context);
    if (reader->ended)
        reader->ended(reader->context);
    if (reader->result.model)
        reader->preparation->forget(reader->result.definition, reader->preparation->context);
    reader->job =
        (struct job){.n_steps = 1, .step = dispose_step, .done = disposed, .uid = reader->job.uid};
    workers_submit(reader->workers, &reader->job);
}

/* The thread may still write the result, so the caller gets another. */
static void import_abandoned(struct job *job)
{
    struct model_reader *reader = (struct model_reader *)job;
    struct model_read_result none = {.operation = "read", .is_abandoned = true};
    model_reader_done done = TAKE_PTR(reader->done);
    if (reader->use)
        memory_use_give_up(reader->use);
    log_warn("a file of a model that is read has not answered for %d s: given up",
             WORKERS_ABANDON_USEC / 1000000);
    if (done)
        done(-ETIMEDOUT, &none, reader->context);
}

int model_reader_start(struct workers *workers, uid_t uid, struct model_source *source,
                       const struct model_preparation *preparation, model_reader_done done,
                       void *context, struct model_reader **ret)
{
    struct model_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        model_source_done(source);
        return -ENOMEM;
    }
    source->owner = NULL; /* the call may end before the read does */
    *reader = (struct model_reader){
        .job = {.n_steps = 1,
                .step = import_step,
                .done = import_finish,
                .abandoned = import_abandoned,
                .uid = uid},
        .workers = workers,
        .source = *source,
        .use = source->use,
        .preparation = preparation,
        .done = done,
        .context = context,
    };
    *source = MODEL_SOURCE_NONE;
    *ret = reader;
    workers_submit(workers, &reader->job);
    return 0;
}

void model_reader_cancel(struct model_reader *reader, void (*ended)(void *context))
{
    reader->done = NULL;
    reader->ended = ended;
    workers_cancel(reader->workers, &reader->job);
}
