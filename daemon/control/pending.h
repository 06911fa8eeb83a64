/* How much memory may wait for peers: the replies that they have not taken yet, and the calls that
 * they have open.
 *
 * The members share one limit. Each of them may hold as much as is left of it: one alone half of
 * it, two a third each. So there is always something left for who holds nothing. Root has a
 * quarter of the limit for itself, beside the members. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { PENDING_ROOT_PART = 4, PENDING_BYTES_DEFAULT = 16 << 20 };

struct pending {
    uint64_t limit_bytes;
    uint64_t members_bytes, root_bytes; /* that wait now */
};

/* A user's bytes become `after`. */
void pending_change(struct pending *pending, bool is_root, uint64_t *user_bytes, uint64_t after);

/* Whether more may be done for a user who holds that much. What is done then may exceed the limit,
 * but by one reply only. */
bool pending_admits(const struct pending *pending, bool is_root, uint64_t user_bytes);

/* Whether a reply that long may wait, for a user who may hold too much already: several calls that
 * were let in may be answered at once. The members never hold more than twice the limit, nor does
 * root hold more than twice its part, unless it is a single reply. */
bool pending_has_room(const struct pending *pending, bool is_root, uint64_t n_bytes);

/* How much members and root ever hold together with that limit, which is at most UINT64_MAX / 4. */
uint64_t pending_most_bytes(uint64_t limit_bytes);

/* The same arithmetic for things that come many at once, without the excess: how many more a user
 * may have who has `n_user`. Root may have as many as all members. */
uint64_t pending_room(const struct pending *pending, bool is_root, uint64_t n_user);
