/* All views of this process, and the lock for changes of their mappings. */
#pragma once

#include "client/view/faults.h"
#include "client/view/view.h"

enum { VIEWS_MAX = 64 };

struct views {
    pthread_mutex_t lock;
    struct view *_Atomic slots[VIEWS_MAX];
    atomic_uint n_looking; /* threads that read slots but do not count in a view yet */
    atomic_bool started;   /* faults and server run */
    atomic_bool disabled;  /* no more views are made: in a forked child, or without a daemon */
    atomic_uint kicks;     /* a futex that the helper waits for */
    int wake_fd;           /* an eventfd that the server waits for; for the library's threads */
    struct faults faults;
};

/* Global, because calls that replace those of the C library get no context. */
extern struct views views;

void views_lock(void);
void views_unlock(void);
void views_kick(void); /* makes helper and server check the units; safe in a signal handler */
void views_ring(void); /* makes the server check them; for the library's threads */

/* Whether a view overlaps the range. The caller holds the lock. */
bool views_overlap(const void *begin, size_t n_bytes);
/* Makes the units in the range plain permanently, because the engine will change these addresses.
 * The caller holds the lock. */
void views_retire(const void *begin, size_t n_bytes);
/* 0 or -ENFILE. The caller holds the lock. */
int views_add(struct view *view);

/* A fault_reporter. */
bool views_report(const void *address, bool wait);

/* For an address in a view: the end of the unit there, or of the part of the plain file there;
 * `ret_is_unit` says which. NULL for any other address. */
const void *views_stretch(const void *address, bool *ret_is_unit);
