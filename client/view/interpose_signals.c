/* While faults are reported by SIGSEGV, the library handles that signal, and no thread may block
 * it. The engine's action is kept for faults outside of views. */
#include "client/view/real.h"
#include "client/view/views.h"

#include <dlfcn.h>
#include <errno.h>

#define EXPORT __attribute__((visibility("default")))

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static bool is_by_signal(void)
{
    return atomic_load(&views.started) && views.faults.by_signal;
}

EXPORT int sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
    typedef int function(int, const struct sigaction *, struct sigaction *);
    struct sigaction copy;

    if (is_by_signal() && faults_sigaction(&views.faults, signal, action, old))
        return 0;
    if (action) {
        copy = *action;
        sigdelset(&copy.sa_mask, SIGSEGV);
    }
    return ((function *)(uintptr_t)next("sigaction"))(signal, action ? &copy : NULL, old);
}

EXPORT sighandler_t signal(int number, sighandler_t handler)
{
    typedef sighandler_t function(int, sighandler_t);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;

    if (is_by_signal() && faults_sigaction(&views.faults, number, &action, &old))
        return old.sa_flags & SA_SIGINFO ? SIG_DFL : old.sa_handler;
    return ((function *)(uintptr_t)next("signal"))(number, handler);
}

/* Removes SIGSEGV from a set that would block it. */
static const sigset_t *allowed(int how, const sigset_t *set, sigset_t *copy)
{
    if (!set || how == SIG_UNBLOCK || !is_by_signal())
        return set;
    *copy = *set;
    sigdelset(copy, SIGSEGV);
    return copy;
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    typedef int function(int, const sigset_t *, sigset_t *);
    sigset_t copy;
    return ((function *)(uintptr_t)next("sigprocmask"))(how, allowed(how, set, &copy), old);
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    typedef int function(int, const sigset_t *, sigset_t *);
    sigset_t copy;
    return ((function *)(uintptr_t)next("pthread_sigmask"))(how, allowed(how, set, &copy), old);
}
