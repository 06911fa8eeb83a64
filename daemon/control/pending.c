/* Owns the arithmetic of shares. What is held, and who holds it, is counted by others. */
#include "daemon/control/pending.h"

enum { MOST_FACTOR = 2 };

void pending_change(struct pending *pending, bool is_root, uint64_t *user_bytes, uint64_t after)
{
    uint64_t *sum_bytes = is_root ? &pending->root_bytes : &pending->members_bytes;

    *sum_bytes = *sum_bytes - *user_bytes + after;
    *user_bytes = after;
}

static uint64_t part_bytes(uint64_t limit_bytes, bool is_root)
{
    return is_root ? limit_bytes / PENDING_ROOT_PART : limit_bytes;
}

uint64_t pending_most_bytes(uint64_t limit_bytes)
{
    return MOST_FACTOR * (part_bytes(limit_bytes, false) + part_bytes(limit_bytes, true));
}

bool pending_admits(const struct pending *pending, bool is_root, uint64_t user_bytes)
{
    if (is_root)
        return user_bytes <= part_bytes(pending->limit_bytes, true);
    return pending->members_bytes <= pending->limit_bytes &&
           user_bytes <= pending->limit_bytes - pending->members_bytes;
}

bool pending_has_room(const struct pending *pending, bool is_root, uint64_t n_bytes)
{
    uint64_t sum_bytes = is_root ? pending->root_bytes : pending->members_bytes;
    uint64_t most_bytes = MOST_FACTOR * part_bytes(pending->limit_bytes, is_root);

    return sum_bytes == 0 || (sum_bytes <= most_bytes && n_bytes <= most_bytes - sum_bytes);
}

uint64_t pending_room(const struct pending *pending, bool is_root, uint64_t n_user)
{
    uint64_t n_sum = is_root ? pending->root_bytes : pending->members_bytes + n_user;

    if (n_sum >= pending->limit_bytes)
        return 0;
    /* With n more, n_user + n is still no more than what is left to all. */
    return (pending->limit_bytes - n_sum) / (is_root ? 1 : 2);
}
