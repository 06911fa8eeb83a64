/* A view: an address range that represents a weight file. Each unit of it is mapped from the arena,
 * or is a hole, or is mapped from the plain file.
 *
 * Code that changes the mapping of a range holds the lock of views.h. A unit's atomics are for
 * threads that fault, which take no lock. */
#pragma once

#include "client/view/copy_watch.h"
#include "client/view/order.h"
#include "client/view/unit_table.h"

#include <jansson.h>
#include <stdatomic.h>

enum unit_state {
    UNIT_HOLE,
    UNIT_ARMED, /* mapped except for its first page: a hole, which tells when a thread comes */
    UNIT_MAPPED,
    UNIT_PLAIN /* mapped from the file, or raises SIGBUS; this never changes again */
};

struct unit {
    atomic_uint state;
    atomic_uint wanted;     /* a thread has read the hole */
    atomic_uint generation; /* a futex; changes when the mapping of the unit has changed */
    bool must_release;      /* no page of it is mapped any more */
    bool must_wake;         /* the helper must wake threads; under the lock */
    bool is_kept;           /* it is not streamed; true until the daemon has a plan */
    bool is_asked;          /* its lease is on its way */
    bool is_entered;        /* a thread has come to it since it was mapped */
    bool is_watched;        /* its first page was left untouched; see touch.h */
    bool is_counted;        /* see chance.h */
    json_t *lease;          /* NULL: none */
    json_int_t fill;
    uint64_t mapped_at;          /* counts mappings */
    uint64_t first_offset_bytes; /* of its first page, in the arena */
};

/* Whether it lies over pages of the arena. */
static inline bool unit_is_mapped(const struct unit *unit)
{
    unsigned state = atomic_load(&unit->state);
    return state == UNIT_MAPPED || state == UNIT_ARMED;
}

enum { VIEW_STREAMED_MAX = 16, VIEW_LAG_MAX = 3 };

/* The units that are mapped but not kept, in the order in which threads came to them, and then
 * those that were mapped ahead. */
struct streamed {
    uint32_t units[VIEW_STREAMED_MAX];
    unsigned n;
    unsigned lag;               /* how many units the threads may be apart */
    bool is_passed;             /* a thread has come to what follows the last of the former */
    int64_t next_kept;          /* the kept unit that follows it and is watched; or -1 */
    int64_t last[VIEW_LAG_MAX]; /* the units that were released last; or -1 */
};

enum {
    CHANCE_PART = 64,
    CHANCE_UNITS_MAX = 4000, /* that all views hold; a connection may have 4,096 leases */
    CHANCE_IN_USE_MAX = 64
};

struct chance {
    struct layer_uses *uses; /* NULL: the view has no such units */
    uint64_t hold_bytes;     /* as the daemon says */
    uint64_t held_bytes;     /* of the units with `is_counted` */
    uint32_t n_held;
    uint64_t told_usec; /* see use_report.h */
    uint32_t told_to;
    uint32_t in_use[CHANCE_IN_USE_MAX]; /* used in this pass, so they stay; the oldest first */
    uint32_t n_in_use;
    uint64_t begun_usec, spent_usec; /* on sampling */
    uint64_t read_usec;              /* how long threads have waited for units */
    uint64_t n_samples;
    struct route_record *routes; /* NULL: they are not recorded */
};

struct faults;

struct view {
    unsigned char *begin;
    unsigned char *spare; /* another mapping of the file, whose pieces become plain units */
    uint64_t n_bytes, file_offset_bytes;
    char *path;            /* of the file, for messages */
    atomic_uint is_new;    /* a futex: the helper has not made the holes yet */
    int error;             /* of making the holes */
    char *model, *file_id; /* as the daemon names them */
    uint64_t source;
    json_t *id;                   /* the daemon's name for it, or NULL; for the server */
    struct copy_watch copy_watch; /* for the server */
    uint64_t declared;            /* serial of the connection; 0: never; for the server */
    struct unit_table table;
    struct unit *units;
    atomic_ullong plain_bytes;   /* of plain units */
    uint64_t told_outside_bytes; /* to the daemon, on this connection; for the server */
    struct order order;          /* this and the next two are for the server */
    struct streamed streamed;
    uint64_t largest_bytes; /* of a unit */
    struct chance chance;   /* for the server */
    atomic_uint n_faulting; /* threads that wait for a unit */
    bool is_removed;        /* no page is left: the server frees it */
};

/* Makes the units of the sealed table, without leases. 0 or -ENOMEM. */
int view_make_units(struct view *view);

/* How much of the view is mapped from the file. */
static inline uint64_t view_outside_bytes(struct view *view)
{
    return view->n_bytes - view->table.covered_bytes + atomic_load(&view->plain_bytes);
}

/* Frees the view but changes no mapping. */
void view_free(struct view *view);

/* Maps the file twice, as the engine requested. 0 or a negative errno. */
int view_map_file(struct view *view, int prot, int flags, int fd);

int view_make_holes(struct view *view, const struct faults *faults);
/* Replaces a unit's mapping by a hole. 0 or a negative errno; then some pages may be holes, and the
 * call may be repeated. */
int view_make_hole(struct view *view, uint32_t unit, const struct faults *faults);

/* In a program with all its memory locked, no page stays untouched by being mapped only. */
enum first_page { FIRST_POPULATED, FIRST_UNTOUCHED, FIRST_HOLE /* the unit is armed */ };

/* Maps a unit from the places that the reply to Acquire gives. 0; -EBADMSG if they do not cover the
 * unit or cannot be mapped; or a negative errno. After a failure parts of the unit may be
 * mapped. */
int view_map_unit(struct view *view, uint32_t unit, const json_t *reply, int arena_fd,
                  enum first_page first);
/* Whether the first page of a mapped unit is in the page table (see touch.h). */
bool view_is_touched(const struct view *view, uint32_t unit, int touch_fd);
/* Takes it out, so that the next read is seen. False if it cannot be done. */
bool view_untouch(struct view *view, uint32_t unit, int touch_fd);
/* Makes the first page of a mapped unit a hole. 0 or a negative errno; then the unit stays mapped.
 */
int view_arm(struct view *view, uint32_t unit, const struct faults *faults);
/* Maps the first page of an armed unit. 0 or a negative errno. */
int view_disarm(struct view *view, uint32_t unit, int arena_fd);

/* Maps the plain file over a unit, permanently. It needs no descriptor, which the engine could have
 * closed. 0 or a negative errno; then the call may be repeated. */
int view_make_plain(struct view *view, uint32_t unit);
/* Makes every access to the unit raise SIGBUS, as beyond the end of a file. */
int view_make_bad(struct view *view, uint32_t unit);

/* Changes the unit's generation and wakes the threads that wait for it. Without `faults`, which an
 * engine's thread cannot use, the helper must be kicked to wake those of userfaultfd. */
void view_wake(struct view *view, uint32_t unit, const struct faults *faults);
