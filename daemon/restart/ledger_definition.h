/* A model's definition in the ledger: what a layer's bytes in the arena mean, exactly as it was
 * when they were loaded. It is neither parsed again from its text nor from the weight files'
 * headers: those may have changed since, and another version of the program may group and place
 * tensors otherwise. */
#pragma once

#include "daemon/restart/ledger.h"

/* Writes it from `offset_bytes` on. 0 or a negative errno. */
int ledger_definition_write(int fd, uint64_t offset_bytes, const struct definition *definition,
                            uint64_t *ret_bytes, uint32_t *ret_crc);

/* Reads it back and checks whatever is later relied upon. The files have no descriptors;
 * `ret_sources` is a new array that says which they were. 0; -EBADMSG; -ENOMEM; a read's errno. */
int ledger_definition_read(int fd, uint64_t offset_bytes, uint64_t n_bytes, uint32_t crc,
                           struct definition **ret, struct ledger_source **ret_sources);
