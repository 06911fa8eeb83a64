/* All views of this process, and the lock over what lies in them. */
#pragma once

#include "client/view/faults.h"
#include "client/view/view.h"

enum { VIEWS_MAX = 64 };

struct views {
    pthread_mutex_t lock;
    struct view *_Atomic slots[VIEWS_MAX];
    atomic_uint n_looking; /* threads between finding a slot and counting themselves in */
    atomic_bool started;   /* faults and server run */
    atomic_bool disabled;  /* nothing more is viewed: a forked child, or no daemon has come */
    int wake_fd;           /* an eventfd that the server waits for */
    struct faults faults;
};

extern struct views
    views; /* the process's: calls that stand in for the C library's have no other way */

void views_lock(void);
void views_unlock(void);
void views_kick(void); /* the server looks at the units again; safe in a signal handler */

/* With the lock: whether a view that is left overlaps the range. */
bool views_overlap(const void *begin, size_t n_bytes);
/* With the lock: the engine changes these addresses: the units there become plain for good. */
void views_retire(const void *begin, size_t n_bytes);
/* With the lock: 0 or -ENFILE. */
int views_add(struct view *view);

/* A fault_reporter. */
bool views_report(const void *address, bool wait);

/* An address in a view: up to where a unit goes on, or the plain file, as `ret_is_unit` says. NULL
 * for any other address. */
const void *views_stretch(const void *address, bool *ret_is_unit);
