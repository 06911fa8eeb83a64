/* The service manager's side: readiness, status, watchdog, given sockets, the journal. Everything
 * is a no-op where there is no systemd. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Sends log entries to the journal if standard error is connected to it. */
void service_log_to_journal(void);

/* Sockets that the service manager (or a parent that speaks its protocol) passed: calls `take` for
 * each Unix stream socket with whether it is listening; `take` owns the descriptor. Returns how
 * many, or a negative errno. */
int service_take_sockets(int (*take)(int fd, bool listening, void *context), void *context);

void service_ready(const char *status);
void service_status(const char *status);
void service_reloading(void); /* with the monotonic stamp; end it with service_ready */
void service_stopping(void);

/* How often to feed the watchdog, in usec; 0 if there is none. */
uint64_t service_watchdog_interval_usec(void);
void service_watchdog(void);
