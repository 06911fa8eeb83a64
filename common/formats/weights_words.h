/* What the words in a tensor's name tell about its place in the order of execution. Private to
 * weights_group.c. */
#pragma once

#include <stddef.h>

/* Where a module stands among its family, or among all. */
enum phase { PHASE_BEFORE, PHASE_BLOCKS, PHASE_AFTER, PHASE_LAST, N_PHASES };

/* Of a module whose name has `n_name` bytes; PHASE_BLOCKS if no word tells. */
enum phase weights_phase(const char *name, size_t n_name);

/* -1 for a name of an encoder, 1 of a decoder, 0 of neither. */
int weights_side(const char *name, size_t n_name);
