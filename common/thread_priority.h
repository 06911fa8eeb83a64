/* When a thread gets a processor although others keep all processors busy. None of this needs a
 * privilege. */
#pragma once

#include <stdbool.h>

enum { THREAD_SLICE_USEC = 100, THREAD_BACKGROUND_NICE = 10 };

/* The calling thread soon gets a processor when it has work, but no more time than others: it asks
 * for short slices (sched_setattr(2)). False, and no change, before Linux 6.12. */
bool thread_be_prompt(void);

/* The calling thread waits for others, and does not interrupt them when it has work. */
void thread_be_background(void);
