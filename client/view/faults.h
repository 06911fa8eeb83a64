/* Where threads learn that they have met a hole, and how holes are made: by userfaultfd, or by
 * SIGSEGV where there is none. Both report an address to the same function, and both wait for the
 * same words to move on. */
#pragma once

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct faults {
    bool by_signal;
    int uffd; /* -1: by signal */
};

/* Of the views: whoever meets a hole there is noted. Safe in a signal handler. False if the address
 * is in no hole. With `wait` it returns when what lies there has changed. */
typedef bool (*fault_reporter)(const void *address, bool wait);

/* `forced` is "device", "uffd" or "sigsegv"; NULL: the first of these that works. 0 or a negative
 * errno. Starts a thread where that is needed. */
int faults_start(struct faults *faults, const char *forced, fault_reporter report);

/* One call replaces what lies there. 0 or a negative errno. */
int faults_make_hole(const struct faults *faults, void *begin, size_t n_bytes);
void faults_wake(const struct faults *faults, void *begin, size_t n_bytes);

/* What the engine does with SIGSEGV while that is ours. False: not ours, or not started; it goes to
 * the C library. */
bool faults_sigaction(const struct faults *faults, int signal, const struct sigaction *action,
                      struct sigaction *old);
