/* Owns the table of options, and the form of each value.
 *
 * Leaves to config.c where the values come from (file, command line), and which further conditions
 * they must meet. */
#include "daemon/option.h"

#include "common/policy_names.h"
#include "common/units.h"
#include "daemon/arena/headroom.h"
#include "daemon/config_values.h"
#include "daemon/metrics/listen_address.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

enum { NAME_BYTES_MAX = 255 };

static int parse_within(const struct option *option, int error, uint64_t value, void *ret)
{
    if (error < 0)
        return error;
    if (value < option->min || value > option->max)
        return -ERANGE;
    *(uint64_t *)ret = value;
    return 0;
}

static int parse_number(const struct option *option, const char *text, void *ret)
{
    uint64_t value = 0;
    int error = *text ? 0 : -EINVAL;

    for (; *text && error == 0; text++)
        if (*text < '0' || *text > '9')
            error = -EINVAL;
        else if (__builtin_mul_overflow(value, 10, &value) ||
                 __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            error = -ERANGE;
    return parse_within(option, error, value, ret);
}

static int parse_size(const struct option *option, const char *text, void *ret)
{
    uint64_t bytes = 0;
    int error = size_parse(text, &bytes);

    return parse_within(option, error, bytes, ret);
}

static int parse_capacity(const struct option *option, const char *text, void *ret)
{
    static const struct option percentage = {.min = 1, .max = 100};
    size_t length = strlen(text);
    char digits[4] = "";
    struct headroom headroom;
    uint64_t percent;

    if (length == 0 || text[length - 1] != '%')
        return parse_size(option, text, ret);
    if (length > sizeof digits)
        return -EINVAL;
    memcpy(digits, text, length - 1);
    int r = parse_number(&percentage, digits, &percent);
    if (r < 0)
        return r;
    r = headroom_read("/proc", "/sys/fs/cgroup", &headroom);
    return r < 0 ? r : parse_within(option, 0, headroom.total_bytes / 100 * percent, ret);
}

static int parse_duration(const struct option *option, const char *text, void *ret)
{
    uint64_t usec = 0;
    int error = duration_parse(text, &usec);

    return parse_within(option, error, usec, ret);
}

static int parse_choice(const struct option *option, const char *text, void *ret)
{
    size_t length = strlen(text);
    unsigned index = 0;

    for (const char *word = option->value;; index++) {
        size_t n = strcspn(word, "|");
        if (n == length && memcmp(word, text, n) == 0) {
            *(unsigned *)ret = index;
            return 0;
        }
        if (word[n] == '\0')
            return -EINVAL;
        word += n + 1;
    }
}

static int parse_bool(const struct option *option, const char *text, void *ret)
{
    unsigned index;
    int r = parse_choice(option, text, &index);

    if (r < 0)
        return r;
    *(bool *)ret = index == 0; /* "yes|no" */
    return 0;
}

static int parse_policy(const struct option *option, const char *text, void *ret)
{
    const struct policy *policy = policy_find(text);

    (void)option;
    if (!policy)
        return -EINVAL;
    *(const struct policy **)ret = policy;
    return 0;
}

static int parse_log_level(const struct option *option, const char *text, void *ret)
{
    (void)option;
    return log_level_parse(text, ret);
}

static int parse_string(const struct option *option, const char *text, void *ret)
{
    char *copy = NULL;

    if (strlen(text) > option->max)
        return -ERANGE;
    if (*text) {
        copy = strdup(text);
        if (!copy)
            return -ENOMEM;
    }
    free(*(char **)ret);
    *(char **)ret = copy;
    return 0;
}

static int parse_listen_address(const struct option *option, const char *text, void *ret)
{
    struct listen_address address;
    int r = *text ? listen_address_parse(text, &address) : 0;
    return r < 0 ? r : parse_string(option, text, ret);
}

bool option_is_string(const struct option *option)
{
    return option->parse == parse_string || option->parse == parse_listen_address;
}

/* parse_choice stores the word's place in the list. */
_Static_assert(COMMIT_BOOT == 0 && COMMIT_LOAD == 1, "order of the words");
_Static_assert(HUGE_PAGES_AUTO == 0 && HUGE_PAGES_NEVER == 1 && HUGE_PAGES_RESERVED == 2,
               "order of the words");
_Static_assert(ON_FULL_EVICT == 0 && ON_FULL_ASK == 1, "order of the words");
_Static_assert(ON_PRESSURE_IGNORE == 0 && ON_PRESSURE_TRIM == 1, "order of the words");
_Static_assert(IO_AUTO == 0 && IO_DIRECT == 1 && IO_BUFFERED == 2, "order of the words");
_Static_assert(sizeof(enum commit) == sizeof(unsigned) &&
                   sizeof(enum huge_pages) == sizeof(unsigned) &&
                   sizeof(enum on_full) == sizeof(unsigned) &&
                   sizeof(enum on_pressure) == sizeof(unsigned) &&
                   sizeof(enum io_mode) == sizeof(unsigned),
               "size of a choice");

#define MEMBER(member) offsetof(struct config, member), sizeof(((struct config *)0)->member)

/* clang-format off */
const struct option options[N_OPTIONS] = {
    {"capacity", parse_capacity, MEMBER(capacity_bytes), NULL, 1, INT64_MAX, false,
     "SIZE|PERCENT%", "a size such as 50M or 2G, or 1% to 100% of the RAM that the daemon may have",
     "How much RAM the arena takes. Required."},
    {"commit", parse_choice, MEMBER(commit), "boot", 0, 0, false,
     "boot|load", NULL,
     "Commit all memory before READY, or as layers are loaded."},
    {"huge-pages", parse_choice, MEMBER(huge_pages), "auto", 0, 0, false,
     "auto|never|reserved", NULL,
     "Transparent huge pages where possible, none, or the reserved pool."},
    {"mlock", parse_bool, MEMBER(mlock), "no", 0, 0, false,
     "yes|no", NULL,
     "Lock the arena into RAM; the start fails if that is not allowed."},
    {"policy", parse_policy, MEMBER(policy), "flush-all", 0, 0, true,
     POLICY_NAMES("|", "|"), NULL,
     "Which layers give way."},
    {"on-full", parse_choice, MEMBER(on_full), "evict", 0, 0, true,
     "evict|ask", NULL,
     "When the arena is full, evict layers or answer MustUnload."},
    {"on-pressure", parse_choice, MEMBER(on_pressure), "ignore", 0, 0, true,
     "ignore|trim", NULL,
     "When memory is short, do nothing, or give back what nobody uses."},
    {"socket", parse_string, MEMBER(socket), NULL, 0, sizeof((struct sockaddr_un){0}.sun_path) - 1,
     false, "PATH", "a path of at most 107 bytes",
     "Where to listen, unless the service manager passes a socket."},
    {"socket-group", parse_string, MEMBER(socket_group), NULL, 0, NAME_BYTES_MAX, false,
     "GROUP", "the name of a group",
     "Who may look and plan. Not set: the daemon's own group."},
    {"admin-group", parse_string, MEMBER(admin_group), NULL, 0, NAME_BYTES_MAX, true,
     "GROUP", "the name of a group",
     "Who may load, unload and set, besides root and the daemon's own user."},
    {"model-dir", parse_string, MEMBER(model_dir), NULL, 0, PATH_MAX - 1, true,
     "PATH", "a path",
     "The only directory below which clients may name files by path."},
    {"metrics-listen", parse_listen_address, MEMBER(metrics_listen), NULL, 0, NAME_BYTES_MAX, false,
     "ADDRESS:PORT|PATH", "a numeric address with a port, as 127.0.0.1:9464 or [::1]:9464, or the "
     "path of a Unix socket",
     "Where to serve metrics for Prometheus over HTTP. Not set: nowhere."},
    {"io", parse_choice, MEMBER(io), "auto", 0, 0, false,
     "auto|direct|buffered", NULL,
     "Read weight files past the page cache if they are not in it, always, or never."},
    {"loaders", parse_number, MEMBER(loaders), "2", 1, 64, false,
     "N", "a number from 1 to 64",
     "Threads that load layers."},
    {"monitor-interval", parse_duration, MEMBER(monitor_interval_usec), "1s",
     10 * 1000, UINT64_C(3600) * 1000 * 1000, true,
     "TIME", "a time from 10ms to 1h",
     "How often to read the operating system's memory figures."},
    {"overhead-limit", parse_size, MEMBER(overhead_limit_bytes), "64M", 1 << 20, INT64_MAX, true,
     "SIZE", "a size of at least 1M",
     "RAM that the daemon may use beyond the arena; it refuses work that needs more."},
    {"lease-grace", parse_duration, MEMBER(lease_grace_usec), "30s",
     0, UINT64_C(3600) * 1000 * 1000, false,
     "TIME", "a time of at most 1h",
     "How long after a restart a layer that was leased waits for its client."},
    {"max-connections", parse_number, MEMBER(max_connections), "256", 1, 10000, true,
     "N", "a number from 1 to 10000",
     "Connections at a time."},
    {"max-connections-per-user", parse_number, MEMBER(max_connections_per_user), "32", 1, 10000,
     true, "N", "a number from 1 to 10000",
     "Connections of one user at a time."},
    {"log-level", parse_log_level, MEMBER(log_level), "info", 0, 0, true,
     "error|warning|notice|info|debug", NULL,
     "The least important entries that are logged."},
};
/* clang-format on */

const struct option *option_find(const char *name, size_t length)
{
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (strlen(options[i].name) == length && memcmp(options[i].name, name, length) == 0)
            return &options[i];
    return NULL;
}

/* The Levenshtein distance, computed in one row of its table. */
unsigned option_distance(const char *a, const char *b)
{
    enum { LENGTH_MAX = 32 };
    unsigned row[LENGTH_MAX + 1];
    size_t n = strnlen(a, LENGTH_MAX);

    for (unsigned i = 0; i <= n; i++)
        row[i] = i;
    for (; *b; b++) {
        unsigned diagonal = row[0]++;
        for (size_t i = 1; i <= n; i++) {
            unsigned best = diagonal + (a[i - 1] != *b);
            if (best > row[i] + 1)
                best = row[i] + 1;
            if (best > row[i - 1] + 1)
                best = row[i - 1] + 1;
            diagonal = row[i];
            row[i] = best;
        }
    }
    return row[n];
}
