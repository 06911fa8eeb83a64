/* A view of a model with units that are used by chance, such as experts. The daemon says how much
 * the view may hold, and this chooses which units leave: those whose next use is expected last.
 *
 * A mapped unit raises no fault, so its uses are not seen. So units are armed now and then: the
 * next thread that comes faults, and the unit is only mapped again. Only the server's thread uses
 * this. */
#pragma once

#include "client/view/view.h"

struct faults;

/* Looks for such units in a view that has its units. 0 or -ENOMEM; view_free releases all. */
int chance_init(struct view *view);

/* Whether there is time for a sample. All of them take at most a CHANCE_PART-th of the time, and as
 * long again as threads wait for units that are read: each use that is not seen makes the choices
 * worse, and one wrong choice costs more than many samples. A record needs all uses. */
static inline bool chance_may_sample(const struct chance *chance, uint64_t now_usec)
{
    return chance->routes ||
           chance->spent_usec < (now_usec - chance->begun_usec) / CHANCE_PART + chance->read_usec;
}

/* A thread has come to the unit. Records that before the thread goes on, and maybe ends the
 * program; chance_enter follows. */
void chance_record(struct view *view, uint32_t unit);
/* A thread has come to the unit, which is mapped now. */
void chance_enter(struct view *view, uint32_t unit, const struct faults *faults);
/* The unit is mapped, or no longer. */
void chance_mapped(struct view *view, uint32_t unit);
void chance_unmapped(struct view *view, uint32_t unit);

/* Finds a unit to release. With `needed_bytes` only if the view would hold too much with so much
 * more. False if there is none. */
bool chance_choose(struct view *view, uint64_t needed_bytes, uint32_t *ret);
/* Finds one whatever the view may hold. */
bool chance_choose_any(struct view *view, uint32_t *ret);
