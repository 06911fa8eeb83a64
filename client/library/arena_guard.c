/* Owns the process's SIGBUS handler and the handler's table. They are global, because a process has
 * only one handler for all threads. */
#include "client/library/arena_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

/* A process may have about 65,530 mappings, and a view takes at least two. */
enum { GUARDS_MAX = 32768 };

/* A range of addresses that maps an arena. One thread at a time writes an entry. The signal handler
 * reads entries in any thread, without a lock, and skips an entry that is being written. It never
 * skips the entry that it looks for, because that range stays mapped while it is read. */
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

/* Replaces a whole mapping by zeros. The rest of the file is useless for a layer that has lost its
 * end, and single holes would soon need more mappings than a process may have. The zeros take no
 * memory. mmap is not on POSIX's list for signal handlers, but on Linux it is a plain system call.
 * False if the address is in no arena. */
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
        atomic_store(is_lost, true); /* first, so that no reader gets zeros unnoticed */
        return mmap((void *)begin, n_bytes, PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
    }
    return false;
}

/* A signal from a fault cannot be ignored. It comes again when the handler returns. */
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
    /* Read before the handler is installed, because the handler may run at once and needs it. */
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
