/* Weight files that were deleted, or that another file of their name has replaced: the daemon goes
 * on to read the ones that it has open, and says so. Loop thread only. */
#pragma once

#include "daemon/methods/events.h"

enum { DELETED_FILES_LOOKS = 500 }; /* at files, in one go */

/* Where the next look begins. Zero-initialised. */
struct deleted_files {
    uint64_t model, file; /* by their places, which may shift: then a file is looked at later */
};

/* Looks at the next files of all models, and tells of each that has lost its name since. It asks
 * the kernel for what it knows already: no server of a file system is waited for. */
void deleted_files_look(struct deleted_files *deleted, const struct scheduler *scheduler,
                        struct events *events);

/* As of the last looks. */
uint64_t deleted_files_of(const struct model *model);
