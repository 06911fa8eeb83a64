/* Releases locals at the end of their scope. This file has only the attribute and the cleaners for
 * libc's types. A module that owns a type defines `x_freep` next to `x_free` with DEFINE_CLEANUP.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

/* Defines `function##p`, which takes the address of a pointer and releases the pointer unless it is
 * empty. */
#define DEFINE_CLEANUP(type, function)            \
    static inline void function##p(type *pointer) \
    {                                             \
        if (*pointer)                             \
            function(*pointer);                   \
    }                                             \
    struct cleanup_needs_a_semicolon

static inline void freep(void *pointer)
{
    free(*(void **)pointer);
}

static inline void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

DEFINE_CLEANUP(FILE *, fclose);

/* Returns the value of a `_cleanup_` variable and sets the variable to `empty` (NULL or -1). */
#define TAKE(variable, empty)                     \
    ({                                            \
        __typeof__(variable) taken_ = (variable); \
        (variable) = (empty);                     \
        taken_;                                   \
    })
#define TAKE_PTR(pointer) TAKE(pointer, NULL)
#define TAKE_FD(fd)       TAKE(fd, -1)
