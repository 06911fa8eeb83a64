/* Reads a model: a definition, an index or a weight file, and the other weight files that belong to
 * it. Blocks on files, so call it on worker threads only. */
#pragma once

#include "daemon/weights/model_source.h"

/* Returns 0; -EBADMSG with a problem; -EDQUOT if the source's use
 * allows no more memory; or another negative errno with the operation that failed. The
 * source cannot be used again, only released. */
int model_parse(struct model_source *source, struct model_read_result *ret);
