/* Which streamed units of a view are still in use, and which come next. It changes no mapping. For
 * the server's thread only. */
#pragma once

#include "client/view/view.h"

/* A unit that is not kept was mapped, or is mapped no more. */
void stream_add(struct view *view, uint32_t unit);
void stream_remove(struct view *view, uint32_t unit);

/* A thread has come to the unit. */
void stream_enter(struct view *view, uint32_t unit);

/* The kept unit that threads will come to after the unit that they have come to last, which then is
 * of no use any more. ORDER_NONE if it is not known, or streamed, too. */
int64_t stream_choose_next_kept(const struct view *view);

/* The unit that is asked for after this one; or ORDER_NONE. */
int64_t stream_choose_next(const struct view *view, uint32_t unit);

/* The units that threads will come to next, at most VIEW_STREAMED_MAX. Those that should be mapped
 * ahead. Returns their number. */
unsigned stream_choose_ahead(const struct view *view, uint32_t ret[VIEW_STREAMED_MAX]);

/* A streamed unit that no thread uses any more, and that does not come next either. */
bool stream_find_needless(const struct view *view, const uint32_t *ahead, unsigned n_ahead,
                          uint32_t *ret);
