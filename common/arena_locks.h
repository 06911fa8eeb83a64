/* Locks on the arena's file (F_OFD_SETLK, fcntl(2)), which daemon and view library agree about.
 *
 * The daemon read-locks one byte for each client with views, with an open file description that it
 * opened for this client alone. The kernel keeps the lock as long as the client has a descriptor or
 * a mapping of this description, whatever becomes of the connection and of the daemon.
 *
 * A daemon that must empty the arena write-locks the first byte. Then the view library unmaps it.
 */
#pragma once

enum { ARENA_LOCK_EMPTYING = 0, ARENA_LOCK_CLIENTS = 1 };
