/* A view: an address range that stands for a weight file, unit by unit mapped from the arena, a
 * hole, or the plain file.
 *
 * Whoever changes what lies over a range holds the lock of views.h. A unit's atomics are for
 * threads that fault; they take no lock. */
#pragma once

#include "client/view/copy_watch.h"
#include "client/view/unit_table.h"

#include <jansson.h>
#include <stdatomic.h>

enum unit_state {
    UNIT_HOLE,
    UNIT_MAPPED,
    UNIT_PLAIN /* the file's own mapping, or what gives SIGBUS: no more ours */
};

struct unit {
    atomic_uint state;
    atomic_uint wanted;     /* a thread has met the hole */
    atomic_uint generation; /* a futex: moves on when what lies there has changed */
    bool must_release;      /* no page of it is mapped any more */
    json_t *lease;          /* NULL: none */
    json_int_t fill;
    uint64_t mapped_at; /* counts mappings */
};

struct faults;

struct view {
    unsigned char *begin;
    uint64_t n_bytes, file_offset_bytes;
    int prot, flags; /* as the engine asked for */
    int file_fd;     /* owned */
    char *model;
    uint64_t source;
    char *id;                     /* the daemon's name for it, or NULL; the server's */
    struct copy_watch copy_watch; /* the server's */
    uint64_t declared;            /* over which connection; 0: never; the server's */
    struct unit_table table;
    struct unit *units;
    atomic_uint n_faulting; /* threads that wait for a unit */
    bool is_removed;        /* no page is left: the server frees it */
};

uint64_t view_unit_bytes(const struct view *view, uint32_t unit);

/* Frees it; touches no mapping. */
void view_free(struct view *view);

/* Puts a hole over a unit, whatever lies there. 0 or a negative errno, and nothing has changed for
 * good: some pages may be holes already. */
int view_make_hole(struct view *view, uint32_t unit, const struct faults *faults);

/* Maps a unit where the reply to Acquire says. 0; -EBADMSG if that is not all of the unit in places
 * that can be mapped; or a negative errno. After a failure the unit is no hole as a whole. */
int view_map_unit(struct view *view, uint32_t unit, const json_t *reply, int arena_fd);

/* Maps the plain file over a unit, for good; as view_make_bad if the view's descriptor of the file
 * was taken from it. */
int view_make_plain(struct view *view, uint32_t unit);
/* Whoever touches the unit gets SIGBUS, as beyond the end of a file. */
int view_make_bad(struct view *view, uint32_t unit);

/* Moves the generation on and wakes who waits for the unit. */
void view_wake(struct view *view, uint32_t unit, const struct faults *faults);
