/* Makes holes in views, and reports the threads that read a hole. A hole is a range without pages.
 * This uses userfaultfd, or SIGSEGV if there is no userfaultfd. Both report an address to the same
 * function, and in both cases the thread waits for the unit's generation to change. Unless a
 * comment says otherwise, only the library's threads may call these functions. */
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

/* Reports that a thread reads `address`. False if the address is in no hole. With `wait` it returns
 * after the hole has been filled. Safe in a signal handler. */
typedef bool (*fault_reporter)(const void *address, bool wait);

/* `forced` is "device", "uffd" or "sigsegv"; NULL: the first of these that works. Starts a thread
 * if that needs one. 0 or a negative errno. */
int faults_start(struct faults *faults, const char *forced, fault_reporter report);

/* Replaces the range by a hole, with one call. 0 or a negative errno. */
int faults_make_hole(const struct faults *faults, void *begin, size_t n_bytes);
/* Wakes the threads that wait for userfaultfd. */
void faults_wake(const struct faults *faults, void *begin, size_t n_bytes);

/* Lets the calling thread of the engine read holes. */
void faults_admit(const struct faults *faults);

/* The engine's sigaction for SIGSEGV while the library uses that signal. False if the library does
 * not use `signal` or has not started; then the caller passes the call to the C library. */
bool faults_sigaction(const struct faults *faults, int signal, const struct sigaction *action,
                      struct sigaction *old);
