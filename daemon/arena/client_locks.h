/* The locks of common/arena_locks.h: whether clients still have the arena mapped. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { CLIENT_LOCK_NONE = 0 };

/* Locks a descriptor that is for one client alone. `id` is at least ARENA_LOCK_CLIENTS. 0 or a
 * negative errno. */
int client_lock_take(int client_fd, uint64_t id);

/* Whether a client has a lock with an id from `first` to `last`. */
bool client_locks_are_held(int arena_fd, uint64_t first, uint64_t last);

/* Asks the clients with locks to unmap the arena, and waits up to `wait_usec` until they have.
 * Returns whether they have. */
bool client_locks_end(int arena_fd, uint64_t wait_usec);

/* Gives the arena's memory back to the system, after clients had 5 s to unmap it. Does
 * nothing if `arena_fd` is negative. */
void client_locks_empty(int arena_fd);
