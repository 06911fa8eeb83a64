/* Finds weight files that were deleted, or replaced by another file with the same name. The daemon
 * continues to read the file that it has open, and reports it. Loop thread only. */
#pragma once

#include "daemon/methods/events.h"

enum { DELETED_FILES_LOOKS = 500 }; /* files that one call looks at */

/* Where the next look begins. When the list of models changes, a position may mean another file,
 * and some file is looked at later. Zero-initialise it. */
struct deleted_files {
    uint64_t model, file; /* positions in the lists */
};

/* Looks at the next files of all models, and reports each file that has lost its name since the
 * last look. It asks only for what the kernel already knows, and never waits for a file server. */
void deleted_files_look(struct deleted_files *deleted, const struct scheduler *scheduler,
                        struct events *events);

/* The number of the model's files that were found deleted so far. */
uint64_t deleted_files_of(const struct model *model);
