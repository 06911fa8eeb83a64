/* Which calls of the daemon fail: a page that the test also maps, and changes while the daemon
 * runs. EDGEMIND_FAULTS names its file. faults.py knows this layout, too. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct faults {
    _Atomic uint64_t n_allocations; /* so far */
    _Atomic uint64_t first, end;    /* the n-th fails if first <= n < end */
    _Atomic uint64_t n_live;        /* allocations that were not freed */
    struct call_faults {
        _Atomic uint64_t n_calls, first, end; /* of `name`, likewise */
        _Atomic int64_t
            value;     /* an errno; 0: the call does less; negative: it takes so many usec */
        char name[32]; /* changes only while `end` is 0 */
    } call;
};

/* NULL: nothing fails. */
extern struct faults *faults;
