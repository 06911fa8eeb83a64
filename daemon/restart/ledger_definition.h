/* A model's definition in the ledger. It says what a layer's bytes in the arena mean, exactly as
 * when they were loaded. The daemon parses neither the definition's text nor the weight files'
 * headers again, because they may have changed since, and because another version of the program
 * may group and place tensors otherwise. */
#pragma once

#include "daemon/restart/ledger.h"

/* Writes the definition at `offset_bytes`. Returns 0 or a negative errno. */
int ledger_definition_write(int fd, uint64_t offset_bytes, const struct definition *definition,
                            uint64_t *ret_bytes, uint32_t *ret_crc);

/* Finds out how many bytes ledger_definition_write would write. Errors likewise. */
int ledger_definition_measure(const struct definition *definition, uint64_t *ret_bytes);

/* Reads a definition and checks all that the daemon later relies on. The files have no descriptors;
 * `ret_sources` is a new array that identifies each file. Returns 0; -EBADMSG; -ENOMEM; a read's
 * errno. */
int ledger_definition_read(int fd, uint64_t offset_bytes, uint64_t n_bytes, uint32_t crc,
                           struct definition **ret, struct ledger_source **ret_sources);
