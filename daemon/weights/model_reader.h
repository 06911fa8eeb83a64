/* Reads a model on a worker thread, because the loop neither reads files nor parses large texts. */
#pragma once

#include "daemon/system/workers.h"
#include "daemon/weights/model_parse.h"

struct model_reader;

/* Called once, on the loop thread. `error` is that of model_parse, or -ETIMEDOUT if a file has not
 * answered for WORKERS_ABANDON_USEC. The function may take what `result` owns. */
typedef void (*model_reader_done)(int error, struct model_read_result *result, void *context);

/* What else is done with a model that will be registered, so that the loop has little to do then.
 * Who takes the model out of a result calls `forget` if it is not registered after all. */
struct model_preparation {
    void (*prepare)(const struct definition *definition, void *context); /* on the worker thread */
    void (*forget)(const struct definition *definition, void *context);  /* on the loop thread */
    void *context;
};

/* Reads for the user `uid`. The result has a model if `preparation` is not NULL; it is borrowed.
 * Takes the source, also on failure. Returns 0 or -ENOMEM. */
int model_reader_start(struct workers *workers, uid_t uid, struct model_source *source,
                       const struct model_preparation *preparation, model_reader_done done,
                       void *context, struct model_reader **ret);

/* After this `done` is not called any more. A thread may still read, maybe for ever; when none
 * does, `ended` is called on the loop thread, unless it is NULL. An abandoned reader may be
 * cancelled, too, in `done`. */
void model_reader_cancel(struct model_reader *reader, void (*ended)(void *context));
