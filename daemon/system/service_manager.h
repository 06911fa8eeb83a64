/* The service manager's side: readiness, status, watchdog, given sockets, the descriptor store, the
 * journal. Everything is a no-op where there is no systemd. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Sends log entries to the journal if standard error is connected to it. */
void service_manager_log_to_journal(void);

enum service_fd { SERVICE_LISTENING, SERVICE_CONNECTED, SERVICE_STORED };

/* Descriptors that the service manager (or a parent that speaks its protocol) passed: calls `take`
 * for each Unix stream socket, and for each regular file that it has kept for an earlier process,
 * with the name under which; `take` owns the descriptor. Others are closed. 0 or a negative errno.
 */
int service_manager_take_fds(int (*take)(enum service_fd kind, int fd, const char *name,
                                         void *context),
                             void *context);

/* The service manager's store: what is in it is passed to the next process. Returns how many
 * descriptors it holds at most; 0 if there is none. */
uint64_t service_manager_store_max(void);
/* Keeps a duplicate of `fd` there. 0, or a negative errno; -EAGAIN if the service manager does not
 * take it within 5 s. */
int service_manager_store(int fd, const char *name);
/* Drops all of that name. */
void service_manager_unstore(const char *name);

/* 0, also without a service manager; or a negative errno if it was not told. */
int service_manager_ready(const char *status);
void service_manager_status(const char *status);
void service_manager_reloading(
    void); /* with the monotonic stamp; end it with service_manager_ready */
void service_manager_stopping(void);

/* Whether another process is to take over what is in the store: false without a store, and when
 * systemd stops the unit for good. Asks over the system bus, at most a second or so; true if
 * systemd does not say. */
bool service_manager_will_restart(void);

/* How often to feed the watchdog, in usec; 0 if there is none. */
uint64_t service_manager_watchdog_interval_usec(void);
void service_manager_watchdog(void);
