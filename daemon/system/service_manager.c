/* Owns the words that the service manager and the journal understand (sd_notify(3),
 * sd_listen_fds(3), systemd.journal-fields(7), https://systemd.io/JOURNAL_NATIVE_PROTOCOL). What is
 * said, and when, is the daemon's. */
#include "daemon/system/service_manager.h"

#include "common/cleanup.h"
#include "common/log.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include <systemd/sd-daemon.h>

enum { JOURNAL_VALUE_BYTES_MAX = 2048, JOURNAL_BYTES_MAX = 8192, STATUS_BYTES_MAX = 512 };

/* In the journal's own protocol: a name, the value's length, the value. */
struct journal_entry {
    size_t n;
    char bytes[JOURNAL_BYTES_MAX];
};

/* A value that is longer is cut, a field for which there is no room left out. */
static void add_field(struct journal_entry *entry, const char *name, const char *value)
{
    size_t n_name = strlen(name), n_value = strnlen(value, JOURNAL_VALUE_BYTES_MAX);
    uint64_t length = htole64(n_value);
    if (n_name + n_value + sizeof length + 2 > sizeof entry->bytes - entry->n)
        return;
    char *at = mempcpy(entry->bytes + entry->n, name, n_name);
    *at++ = '\n';
    at = mempcpy(at, &length, sizeof length);
    at = mempcpy(at, value, n_value);
    *at++ = '\n';
    entry->n = (size_t)(at - entry->bytes);
}

/* log_sink. Not sd_journal_sendv(3), which waits for a journal that does not read: the loop must
 * not hang with it, so what it does not take now is lost. */
static void write_to_journal(enum log_level level, const char *line, const struct log_field *fields,
                             size_t n_fields)
{
    static const struct sockaddr_un journal = {AF_UNIX, "/run/systemd/journal/socket"};
    struct journal_entry entry;
    char priority[16];
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    entry.n = 0;
    snprintf(priority, sizeof priority, "%d", (int)level);
    add_field(&entry, "PRIORITY", priority);
    add_field(&entry, "SYSLOG_IDENTIFIER", "edgemindd");
    add_field(&entry, "MESSAGE", line);
    for (size_t i = 0; i < n_fields; i++)
        add_field(&entry, fields[i].name, fields[i].value);
    if (fd >= 0)
        sendto(fd, entry.bytes, entry.n, MSG_DONTWAIT | MSG_NOSIGNAL,
               (const struct sockaddr *)&journal, sizeof journal);
}

void service_manager_log_to_journal(void)
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

int service_manager_take_fds(int (*take)(enum service_fd kind, int fd, const char *name,
                                         void *context),
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

uint64_t service_manager_store_max(void)
{
    const char *text = getenv("FDSTORE");
    char *end;
    if (!text || !getenv("NOTIFY_SOCKET"))
        return 0;
    errno = 0;
    uint64_t max = strtoull(text, &end, 10);
    return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' ? max : 0;
}

int service_manager_store(int fd, const char *name)
{
    char text[128];
    snprintf(text, sizeof text, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
    int r = sd_pid_notify_with_fds(0, 0, text, &fd, 1);
    return r < 0 ? r : 0;
}

void service_manager_unstore(const char *name)
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

void service_manager_ready(const char *status)
{
    notify("READY=1\n", status);
}

void service_manager_status(const char *status)
{
    notify("", status);
}

void service_manager_reloading(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
               (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void service_manager_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

uint64_t service_manager_watchdog_interval_usec(void)
{
    uint64_t timeout_usec;

    if (sd_watchdog_enabled(0, &timeout_usec) <= 0)
        return 0;
    return timeout_usec / 2; /* as sd_watchdog_enabled(3) advises */
}

void service_manager_watchdog(void)
{
    sd_notify(0, "WATCHDOG=1");
}
