/* Owns the words that the service manager and the journal understand (sd_notify(3),
 * sd_listen_fds(3), systemd.journal-fields(7)). What is said, and when, is the daemon's. */
#include "daemon/service.h"

#include "common/cleanup.h"
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#define SD_JOURNAL_SUPPRESS_LOCATION /* the place of the call below says nothing */
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

enum { JOURNAL_FIELDS_MAX = 8, JOURNAL_FIELD_BYTES_MAX = 512, STATUS_BYTES_MAX = 512 };

/* log_sink; a field that is longer is cut. */
static void write_to_journal(enum log_level level, const char *line, const struct log_field *fields,
                             size_t n_fields)
{
    char text[JOURNAL_FIELDS_MAX][JOURNAL_FIELD_BYTES_MAX];
    char priority[sizeof "PRIORITY=" + 10];
    static const char message[] = "MESSAGE=", identifier[] = "SYSLOG_IDENTIFIER=edgemindd";
    _cleanup_(freep) char *entry = NULL;
    struct iovec vectors[3 + JOURNAL_FIELDS_MAX];
    int n_vectors = 0;

    if (asprintf(&entry, "%s%s", message, line) < 0) {
        entry = NULL;
        return;
    }
    snprintf(priority, sizeof priority, "PRIORITY=%d", (int)level);
    vectors[n_vectors++] = (struct iovec){priority, strlen(priority)};
    vectors[n_vectors++] = (struct iovec){(char *)(uintptr_t)identifier, sizeof identifier - 1};
    vectors[n_vectors++] = (struct iovec){entry, strlen(entry)};
    for (size_t i = 0; i < n_fields && i < JOURNAL_FIELDS_MAX; i++) {
        snprintf(text[i], sizeof text[i], "%s=%s", fields[i].name, fields[i].value);
        vectors[n_vectors++] = (struct iovec){text[i], strlen(text[i])};
    }
    sd_journal_sendv(vectors, n_vectors);
}

void service_log_to_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat st;
    char end;

    if (!stream || sscanf(stream, "%ju:%ju%c", &device, &inode, &end) != 2)
        return;
    /* The variable is inherited even where standard error has been redirected since. */
    if (fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode)
        log_set_sink(write_to_journal);
}

static bool is_connected(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;

    return getpeername(fd, (struct sockaddr *)&address, &length) == 0;
}

int service_take_sockets(int (*take)(int fd, bool listening, void *context), void *context)
{
    char **names = NULL;
    int error = 0, n_taken = 0;
    int n = sd_listen_fds_with_names(1, &names);

    for (int i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
        bool listening = sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0;
        bool connected =
            !listening && sd_is_socket_unix(fd, SOCK_STREAM, 0, NULL, 0) > 0 && is_connected(fd);
        if (error < 0 || !(listening || connected)) {
            close(fd);
            continue;
        }
        error = take(fd, listening, context);
        n_taken++;
    }
    return n < 0 ? n : error < 0 ? error : n_taken;
}

/* A status may quote a peer's names: they must not add assignments of their own. */
static void notify(const char *assignments, const char *status)
{
    char line[STATUS_BYTES_MAX];

    snprintf(line, sizeof line, "%s", status);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    sd_notifyf(0, "%sSTATUS=%s", assignments, line);
}

void service_ready(const char *status)
{
    notify("READY=1\n", status);
}

void service_status(const char *status)
{
    notify("", status);
}

void service_reloading(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
               (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void service_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

uint64_t service_watchdog_interval_usec(void)
{
    uint64_t timeout_usec;

    if (sd_watchdog_enabled(0, &timeout_usec) <= 0)
        return 0;
    return timeout_usec / 2; /* as sd_watchdog_enabled(3) advises */
}

void service_watchdog(void)
{
    sd_notify(0, "WATCHDOG=1");
}
