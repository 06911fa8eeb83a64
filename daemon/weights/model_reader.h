/* Reads a model on a worker thread, because the loop neither reads files nor parses large texts. */
#pragma once

#include "daemon/system/workers.h"
#include "daemon/weights/model_parse.h"

struct model_reader;

/* Called once, on the loop thread. `error` is that of model_parse, or -ETIMEDOUT if a file has not
 * answered for WORKERS_ABANDON_USEC. The function takes the reference in `result`. */
typedef void (*model_reader_done)(int error, struct model_read_result *result, void *context);

/* Reads for the user `uid`. Takes the source, also on failure. Returns 0 or -ENOMEM. */
int model_reader_start(struct workers *workers, uid_t uid, struct model_source *source,
                       model_reader_done done, void *context, struct model_reader **ret);

/* After this `done` is not called any more. */
void model_reader_cancel(struct model_reader *reader);
