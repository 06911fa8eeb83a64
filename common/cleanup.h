/* Scope-bound release of locals. Declares nothing but the attribute and the cleaners of libc types;
 * a module that owns a type defines its own `x_freep` beside `x_free` with DEFINE_CLEANUP. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

/* Defines `function##p`, which releases the pointer that it is given the address of, if any. */
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

/* Takes the value out of a `_cleanup_` variable and leaves `empty` (NULL or -1) behind. */
#define TAKE(variable, empty)                     \
    ({                                            \
        __typeof__(variable) taken_ = (variable); \
        (variable) = (empty);                     \
        taken_;                                   \
    })
#define TAKE_PTR(pointer) TAKE(pointer, NULL)
#define TAKE_FD(fd)       TAKE(fd, -1)
