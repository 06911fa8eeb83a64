/* Reading a model: a definition, an index or a weight file, and the weight files that it names or
 * is a part of. Blocks on files: for worker threads. */
#pragma once

#include "daemon/weights/model_source.h"

/* 0; -EBADMSG with a problem; or another negative errno with the operation that failed. Uses the
 * source up. */
int model_parse(struct model_source *source, struct model_read_result *ret);
