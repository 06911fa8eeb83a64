/* The connection to the service manager: readiness, status, watchdog, passed sockets, the
 * descriptor store, the journal. Without systemd all functions do nothing. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Sends log entries to the journal if standard error is connected to it. */
void service_manager_log_to_journal(void);

enum service_fd { SERVICE_LISTENING, SERVICE_CONNECTED, SERVICE_STORED };

/* Takes the descriptors that the service manager passed, or a parent that uses its protocol. Calls
 * `take` for each Unix stream socket, and for each regular file that was stored for an earlier
 * process, with the name under which it was stored. `take` owns the descriptor. Other descriptors
 * are closed. Returns 0 or a negative errno. */
int service_manager_take_fds(int (*take)(enum service_fd kind, int fd, const char *name,
                                         void *context),
                             void *context);

/* The service manager passes the descriptors in its store to the next process. Returns how many
 * descriptors the store can hold; 0 if there is no store. */
uint64_t service_manager_store_max(void);
/* Puts a duplicate of `fd` into the store. Returns 0 or a negative errno; -EAGAIN if the service
 * manager does not take it within 5 s. */
int service_manager_store(int fd, const char *name);
/* Removes all descriptors with that name from the store. */
void service_manager_unstore(const char *name);

/* Reports readiness. Returns 0, also without a service manager; or a negative errno if the report
 * failed. */
int service_manager_ready(const char *status);
void service_manager_status(const char *status);
/* Sends the monotonic time, too. Follow it with service_manager_ready. */
void service_manager_reloading(void);
void service_manager_stopping(void);

/* Whether another process will take over the descriptors in the store. Returns false without a
 * store, and when systemd stops the unit for good. Asks systemd over the system bus, for about a
 * second at most; returns true if systemd does not answer. */
bool service_manager_will_restart(void);

/* The interval at which to call service_manager_watchdog, in usec; 0 if there is no watchdog. */
uint64_t service_manager_watchdog_interval_usec(void);
void service_manager_watchdog(void);
