/* Views: a client declares that a mapping of its process stands for a weight file, with the arena's
 * pages in place of the file's. The daemon maps nothing for it: it only counts what the client
 * leases for the view, and tells which layers the view should keep. A connection's views end with
 * it. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum { VIEWS_PER_CONNECTION_MAX = 64, VIEW_PROGRAM_MAX = 255 };

/* Of all clients. The first four are of the views that there are now, the others also of those that
 * have ended. */
struct view_totals {
    uint64_t n, bytes, outside_bytes, held_bytes;
    uint64_t n_faults, n_hits, read_bytes;
};

struct client_view {
    LIST_ENTRY(client_view) entry;
    uint64_t id; /* is not used again */
    char *model, *program;
    uint64_t registration;  /* of the model */
    uint64_t bytes;         /* of the mapping */
    uint64_t outside_bytes; /* the part that stays a mapping of the file */
    uint64_t held_bytes;    /* of the layers that are leased for it */
    uint64_t n_faults;      /* layers leased for it so far ... */
    uint64_t n_hits;        /* ... and those of them that were resident */
    uint64_t read_bytes;    /* of the others */
    struct client_views *views;
    struct view_plan *plan; /* this and the next belong to view_plan.c; or NULL */
    uint64_t n_streamed;    /* leases of layers that are not kept */
    LIST_ENTRY(client_view) plan_entry;
    bool is_plan_due; /* it was not sent yet; belongs to view_watch.c */
    bool has_next;    /* a layer was read ahead for it: */
    uint32_t next;    /* its index in the model */
};
LIST_HEAD(client_view_list, client_view);

/* The views of a connection. */
struct client_views {
    struct client_view_list list;
    struct view_totals *totals; /* borrowed */
    unsigned n;
    struct view_watch *watch; /* belongs to view_watch.c; or NULL */
};

void client_views_init(struct client_views *views, struct view_totals *totals);
void client_views_done(struct client_views *views);

/* Copies `view`, but for its entry, and its texts. 0; -EMFILE at VIEWS_PER_CONNECTION_MAX; -ENOMEM.
 */
int client_view_begin(struct client_views *views, const struct client_view *view);
void client_view_end(struct client_views *views, struct client_view *view);
struct client_view *client_view_find(const struct client_views *views, uint64_t id); /* or NULL */

/* More or less of it is mapped from the file now. */
void client_view_set_outside(struct client_view *view, uint64_t outside_bytes);
/* Layers were leased for it, or released. */
void client_view_hold(struct client_view *view, int64_t bytes);
/* A layer was leased for the view. */
void client_view_count(struct client_view *view, uint64_t layer_bytes, bool hit);
