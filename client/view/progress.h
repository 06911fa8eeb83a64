/* Where the threads of a program are in a view. They are seen when they fault, and otherwise when
 * they have touched the first page of a unit (see touch.h). Only the server's thread uses this. */
#pragma once

#include "client/view/view.h"

/* A thread has come to the unit, which is mapped; first looks where others were before. With a
 * negative `touch_fd` nothing is seen but faults. */
void progress_enter(struct view *view, uint32_t unit, int touch_fd);

/* The unit was mapped with its first page untouched. Arms it if that page cannot be watched. The
 * caller holds the lock of views.h. */
void progress_watch(struct view *view, uint32_t unit, int touch_fd);

/* Looks where threads have come to without a fault. Returns whether there is any such place. */
bool progress_look(struct view *view, int touch_fd);

/* A thread has come to the unit for the first time since it was mapped. Says once if the program
 * copies the weights. */
void progress_note_read(struct view *view, uint32_t unit);
