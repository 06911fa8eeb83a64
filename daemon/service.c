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

static bool find_kind(int fd, enum service_fd *ret)
{
    struct stat status;
    if (sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0)
        *ret = SERVICE_LISTENING;
    else if (sd_is_socket_unix(fd, SOCK_STREAM, 0, NULL, 0) > 0 && is_connected(fd))
        *ret = SERVICE_CONNECTED;
    else if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        *ret = SERVICE_STORED;
    else
        return false;
    return true;
}

int service_take_fds(int (*take)(enum service_fd kind, int fd, const char *name, void *context),
                     void *context)
{
    char **names = NULL;
    int error = 0;
    int n = sd_listen_fds_with_names(1, &names);

    for (int i = 0; i < n; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        enum service_fd kind;
        if (error < 0 || !find_kind(fd, &kind))
            close(fd);
        else
            error = take(kind, fd, names && names[i] ? names[i] : "", context);
    }
    for (int i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
    return n < 0 ? n : error;
}

uint64_t service_store_max(void)
{
    const char *text = getenv("FDSTORE");
    char *end;
    if (!text || !getenv("NOTIFY_SOCKET"))
        return 0;
    errno = 0;
    uint64_t max = strtoull(text, &end, 10);
    return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' ? max : 0;
}

int service_store(int fd, const char *name)
{
    char text[128];
    snprintf(text, sizeof text, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
    int r = sd_pid_notify_with_fds(0, 0, text, &fd, 1);
    return r < 0 ? r : 0;
}

void service_unstore(const char *name)
{
    sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
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
