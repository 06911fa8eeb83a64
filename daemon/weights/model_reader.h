/* Reading a model on a worker thread: the loop neither reads files nor parses large texts. */
#pragma once

#include "daemon/system/workers.h"
#include "daemon/weights/model_source.h"

struct import;

/* Loop thread, once. `error` as of model_source_read; the reference in `result` is the callee's to
 * take. */
typedef void (*import_done)(int error, struct model_read_result *result, void *context);

/* Takes the source, also on failure. 0 or -ENOMEM. */
int import_start(struct workers *workers, struct model_source *source, import_done done,
                 void *context, struct import **ret);

/* `done` is not called any more. */
void import_cancel(struct import *import);
