/* How much a process can still map. A process of 32 bits, or one below RLIMIT_AS, may lack
 * addresses long before the machine lacks memory. */
#pragma once

#include <stdint.h>

enum { ADDRESS_SPACE_TEXT_MAX = 96 };

/* How many bytes can be mapped in one piece now: `most_bytes`, or fewer, in whole MiB. */
uint64_t address_space_free_bytes(uint64_t most_bytes);

/* Why `n_bytes` could not be mapped: there are fewer addresses, with their number, or what ENOMEM
 * means else. Returns `text`. */
const char *address_space_explain(uint64_t n_bytes, char text[static ADDRESS_SPACE_TEXT_MAX]);
