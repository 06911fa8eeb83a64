/* Derives a tensor's place in the order of execution from the words in its name. Private to
 * weights_group.c. */
#pragma once

#include <stddef.h>

/* The place of a module in its family, or in the model. */
enum phase { PHASE_BEFORE, PHASE_BLOCKS, PHASE_AFTER, PHASE_LAST, N_PHASES };

/* The phase of a module whose name has `n_name` bytes; PHASE_BLOCKS if no word decides. */
enum phase weights_phase(const char *name, size_t n_name);

/* -1 for a name of an encoder, 1 for a name of a decoder, 0 for any other. */
int weights_side(const char *name, size_t n_name);
