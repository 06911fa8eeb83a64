/* Owns the protocols of the service manager and the journal (sd_notify(3), sd_listen_fds(3),
 * systemd.journal-fields(7), https://systemd.io/JOURNAL_NATIVE_PROTOCOL). Leaves to the daemon what
 * to report, and when.
 *
 * sd_notify(3) waits if the manager does not read. So this file sends the messages itself, and the
 * loop's messages are lost if the manager does not take them at once. */
#include "daemon/system/service_manager.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

enum {
    JOURNAL_VALUE_BYTES_MAX = 2048,
    JOURNAL_BYTES_MAX = 8192,
    STATUS_BYTES_MAX = 512,
    STORE_WAIT_USEC = 5000000, /* the ledger may only name stored files, so the daemon waits */
    READY_WAIT_USEC = 5000000, /* before the loop runs */
    JOB_WAIT_USEC = 1000000    /* after it has ended */
};

/* An entry in the journal's native protocol: for each field a name, the value's length, the
 * value. */
struct journal_entry {
    size_t n;
    char bytes[JOURNAL_BYTES_MAX];
};

/* A longer value is truncated. If there is no room for a field, it is left out. */
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

/* Returns the socket for all datagrams, or -1. It is opened once: if the process has no descriptor
 * left, the watchdog's messages must still be sent, or the manager kills it. */
static int datagram_socket(void)
{
    static int fd = -1;

    if (fd < 0)
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd;
}

/* A log_sink. It does not use sd_journal_sendv(3), which waits if the journal does not read. The
 * loop must not wait, so an entry is lost if the journal does not take it at once. */
static void write_to_journal(enum log_level level, const char *line, const struct log_field *fields,
                             size_t n_fields)
{
    static const struct sockaddr_un journal = {AF_UNIX, "/run/systemd/journal/socket"};
    struct journal_entry entry;
    char priority[16];

    entry.n = 0;
    snprintf(priority, sizeof priority, "%d", (int)level);
    add_field(&entry, "PRIORITY", priority);
    add_field(&entry, "SYSLOG_IDENTIFIER", "edgemindd");
    add_field(&entry, "MESSAGE", line);
    for (size_t i = 0; i < n_fields; i++)
        add_field(&entry, fields[i].name, fields[i].value);
    sendto(datagram_socket(), entry.bytes, entry.n, MSG_DONTWAIT | MSG_NOSIGNAL,
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
    /* The process inherits the variable even if its standard error was redirected since. */
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

/* Sends `text`, with `fd` unless that is -1, and waits at most `wait_usec` until the manager takes
 * it. Returns 1; 0 if there is no manager; or a negative errno: -EAGAIN if the manager does not
 * read. */
static int notify_send(const char *text, int fd, uint64_t wait_usec)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || !path[1])
        return path ? -EAFNOSUPPORT : 0;
    size_t n_path = strlen(path);
    if (n_path >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, n_path);
    if (path[0] == '@') /* an abstract name */
        address.sun_path[0] = '\0';

    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof fd)];
    } control = {0};
    struct iovec body = {(char *)(uintptr_t)text, strlen(text)};
    struct msghdr message = {.msg_name = &address,
                             .msg_namelen =
                                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n_path),
                             .msg_iov = &body,
                             .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        control.header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }

    int socket_fd = datagram_socket();
    struct timeval wait = clock_timeval(wait_usec);
    if (socket_fd < 0 ||
        (wait_usec > 0 && setsockopt(socket_fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) < 0))
        return -errno;
    ssize_t n;
    do
        n = sendmsg(socket_fd, &message, MSG_NOSIGNAL | (wait_usec > 0 ? 0 : MSG_DONTWAIT));
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 1;
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
    if (fd < 0)
        return -EBADF;
    snprintf(text, sizeof text, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
    int r = notify_send(text, fd, STORE_WAIT_USEC);
    return r < 0 ? r : 0;
}

void service_manager_unstore(const char *name)
{
    char text[128];
    snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
    notify_send(text, -1, STORE_WAIT_USEC);
}

/* A status may contain names that a peer chose. They must not add assignments. */
static int notify(const char *assignments, const char *status, uint64_t wait_usec)
{
    char line[STATUS_BYTES_MAX], text[STATUS_BYTES_MAX + 64];

    snprintf(line, sizeof line, "%s", status);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    snprintf(text, sizeof text, "%sSTATUS=%s", assignments, line);
    return notify_send(text, -1, wait_usec);
}

int service_manager_ready(const char *status)
{
    int r = notify("READY=1\n", status, READY_WAIT_USEC);
    return r < 0 ? r : 0;
}

void service_manager_status(const char *status)
{
    notify("", status, 0);
}

void service_manager_reloading(void)
{
    struct timespec now;
    char text[64];

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    notify_send(text, -1, 0);
}

void service_manager_stopping(void)
{
    notify_send("STOPPING=1", -1, 0);
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
    notify_send("WATCHDOG=1", -1, 0);
}

/* Returns the type of the job that systemd has queued for this process's unit, malloc'ed: "stop",
 * "restart". NULL if there is no job, or if systemd does not answer. */
static char *find_job_type(sd_bus *bus)
{
    static const char manager[] = "org.freedesktop.systemd1";
    sd_bus_message *unit_reply = NULL, *job_reply = NULL;
    const char *unit, *job;
    char *type = NULL;
    uint32_t id;

    if (sd_bus_call_method(bus, manager, "/org/freedesktop/systemd1",
                           "org.freedesktop.systemd1.Manager", "GetUnitByPID", NULL, &unit_reply,
                           "u", (uint32_t)getpid()) >= 0 &&
        sd_bus_message_read(unit_reply, "o", &unit) >= 0 &&
        sd_bus_get_property(bus, manager, unit, "org.freedesktop.systemd1.Unit", "Job", NULL,
                            &job_reply, "(uo)") >= 0 &&
        sd_bus_message_read(job_reply, "(uo)", &id, &job) >= 0 && id > 0)
        sd_bus_get_property_string(bus, manager, job, "org.freedesktop.systemd1.Job", "JobType",
                                   NULL, &type);
    sd_bus_message_unref(unit_reply);
    sd_bus_message_unref(job_reply);
    return type;
}

bool service_manager_will_restart(void)
{
    sd_bus *bus = NULL;
    if (service_manager_store_max() == 0)
        return false;
    if (sd_bus_open_system(&bus) < 0)
        return true;
    sd_bus_set_method_call_timeout(bus, JOB_WAIT_USEC);
    _cleanup_(freep) char *type = find_job_type(bus);
    sd_bus_flush_close_unref(bus);
    return !type || strcmp(type, "stop") != 0;
}
