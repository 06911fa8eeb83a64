/* Owns the process's handler for SIGBUS and the table that it looks into. There is one handler a
 * process, in whatever thread a reader faults: these are the library's only mutable globals. */
#include "client/library/arena_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

/* A process may have some 65,530 mappings, of which a view is two at least. */
enum { GUARDS_MAX = 32768 };

/* A range of addresses that is mapped from an arena. Written by one thread at a time and read by
 * any, in a signal handler, without a lock: a reader skips an entry that is being written. That is
 * never the entry that it looks for, which stays mapped while it is read. */
struct arena_guard {
    atomic_uint state; /* modulo 4: GUARD_FREE ...; it only grows */
    atomic_uintptr_t begin;
    atomic_size_t n_bytes;
    atomic_bool *_Atomic is_lost;
};

enum { GUARD_FREE, GUARD_WRITING, GUARD_USED, GUARD_STATES = 4 };

static struct arena_guard guards[GUARDS_MAX];
static atomic_size_t n_guards; /* from the first on; the rest was never used */
static struct sigaction previous;

/* Puts zeros in place of a whole mapping: what is left of the file is of no use to a layer that has
 * lost its end, and more holes would soon be more mappings than a process may have. The pages take
 * no memory. mmap is not on POSIX's list for signal handlers, but on Linux it is a system call and
 * nothing more. False if the address is in no arena. */
static bool give_zeros(uintptr_t address)
{
    size_t n = atomic_load(&n_guards);

    for (struct arena_guard *guard = guards; guard < guards + n; guard++) {
        unsigned state = atomic_load(&guard->state);
        uintptr_t begin = atomic_load(&guard->begin);
        size_t n_bytes = atomic_load(&guard->n_bytes);
        atomic_bool *is_lost = atomic_load(&guard->is_lost);
        if (state % GUARD_STATES != GUARD_USED || address < begin || address - begin >= n_bytes ||
            atomic_load(&guard->state) != state)
            continue;
        atomic_store(is_lost, true); /* first: no reader gets zeros unnoticed */
        return mmap((void *)begin, n_bytes, PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
    }
    return false;
}

/* Signals that a fault raises cannot be ignored, and come again when the handler returns. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    bool is_fault = info->si_code > 0;

    if (previous.sa_flags & SA_SIGINFO)
        previous.sa_sigaction(number, info, context);
    else if (previous.sa_handler == SIG_IGN && !is_fault)
        return;
    else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
        previous.sa_handler(number);
    else {
        signal(number, SIG_DFL);
        if (!is_fault)
            raise(number);
    }
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    int error = errno;

    if (info->si_code != BUS_ADRERR || !give_zeros((uintptr_t)info->si_addr))
        pass_on(number, info, context);
    errno = error;
}

static void install_handler(void)
{
    /* Asked for first: the handler may run as soon as it is there. */
    sigaction(SIGBUS, NULL, &previous);
    struct sigaction action = {.sa_sigaction = on_bus_error,
                               .sa_mask = previous.sa_mask,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK |
                                           (previous.sa_flags & (SA_RESTART | SA_NODEFER))};
    sigaction(SIGBUS, &action, NULL);
}

struct arena_guard *arena_guard_new(const unsigned char *begin, size_t n_bytes,
                                    atomic_bool *is_lost)
{
    static pthread_once_t handler = PTHREAD_ONCE_INIT;

    pthread_once(&handler, install_handler);
    for (size_t i = 0; i < GUARDS_MAX; i++) {
        struct arena_guard *guard = &guards[i];
        unsigned state = atomic_load(&guard->state);
        if (state % GUARD_STATES != GUARD_FREE ||
            !atomic_compare_exchange_strong(&guard->state, &state, state + GUARD_WRITING))
            continue;
        atomic_store(&guard->begin, (uintptr_t)begin);
        atomic_store(&guard->n_bytes, n_bytes);
        atomic_store(&guard->is_lost, is_lost);
        atomic_store(&guard->state, state + GUARD_USED);
        size_t n = atomic_load(&n_guards);
        while (n <= i && !atomic_compare_exchange_weak(&n_guards, &n, i + 1))
            ;
        return guard;
    }
    return NULL;
}

void arena_guard_free(struct arena_guard *guard)
{
    if (guard)
        atomic_fetch_add(&guard->state, GUARD_STATES - GUARD_USED);
}
