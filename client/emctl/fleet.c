/* Owns the calls that are under way. What ssh writes to standard error is kept, because its last
 * line says best why a host cannot be reached. */
#include "client/emctl/fleet.h"

#include "client/library/safe_text.h"
#include "client/library/varlink.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { CALL_USEC = REMOTE_CONNECT_SECONDS * 1000 * 1000, MESSAGE_BYTES = 4096, WORDS_MAX = 160 };

/* One call under way; `host` is NULL if there is none. */
struct errand {
    struct fleet_host *host;
    struct remote remote;
    struct varlink *varlink;
    int error_fd; /* what ssh writes */
    uint64_t until_usec;
};

static int add_host(struct fleet *fleet, char *line)
{
    line[strcspn(line, "#\n")] = '\0';
    char *name = line + strspn(line, " \t\r");
    name[strcspn(name, " \t\r")] = '\0';
    if (!*name)
        return 0;
    if (*name == '-')
        return -EINVAL;
    if (fleet->n_hosts == FLEET_HOSTS_MAX)
        return -E2BIG;
    struct fleet_host *hosts = reallocarray(fleet->hosts, fleet->n_hosts + 1, sizeof *fleet->hosts);
    if (!hosts)
        return -ENOMEM;
    fleet->hosts = hosts;
    hosts[fleet->n_hosts] = (struct fleet_host){.name = safe_text(name)};
    return hosts[fleet->n_hosts++].name ? 0 : -ENOMEM;
}

int fleet_read(const char *path, struct fleet *ret)
{
    struct fleet fleet = {0};
    _cleanup_(freep) char *line = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "re");
    int r = file ? 0 : -errno;

    while (r == 0 && getline(&line, &size, file) >= 0)
        r = add_host(&fleet, line);
    if (r == 0 && ferror(file))
        r = -errno;
    if (file)
        fclose(file);
    if (r < 0) {
        fleet_done(&fleet);
        return r;
    }
    *ret = fleet;
    return 0;
}

void fleet_done(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->n_hosts; i++) {
        free(fleet->hosts[i].name);
        json_decref(fleet->hosts[i].reply);
    }
    free(fleet->hosts);
    *fleet = (struct fleet){0};
}

static int begin(struct errand *errand, struct fleet_host *host, const char *socket,
                 const char *method)
{
    int ends[2], fd;

    *errand = (struct errand){
        .host = host, .error_fd = -1, .until_usec = clock_monotonic_usec() + CALL_USEC};
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    errand->error_fd = ends[0];
    int r = remote_start(&errand->remote, host->name, socket, true, ends[1], &fd);
    close(ends[1]);
    if (r == 0)
        r = varlink_adopt(fd, &errand->varlink);
    if (r == 0) {
        varlink_set_timeout(errand->varlink, 0);
        r = varlink_send(errand->varlink, method, NULL, 0, NULL, 0);
    }
    return r;
}

/* Writes the last line of what ssh wrote. False if it wrote nothing. */
static bool last_words(int fd, char text[static WORDS_MAX])
{
    char message[MESSAGE_BYTES + 1];
    size_t n = 0;

    for (ssize_t more; n < MESSAGE_BYTES; n += (size_t)more) {
        more = read(fd, message + n, MESSAGE_BYTES - n);
        if (more <= 0)
            break;
    }
    while (n > 0 && (isspace((unsigned char)message[n - 1]) || message[n - 1] == '.'))
        n--;
    message[n] = '\0';
    const char *begin = strrchr(message, '\n');
    _cleanup_(freep) char *safe = safe_text(begin ? begin + 1 : message);
    snprintf(text, WORDS_MAX, "%s", safe ? safe : "");
    return *text;
}

/* The call has its reply, or has failed with `error` (negative). */
static void end(struct errand *errand, int error)
{
    struct fleet_host *host = errand->host;
    char words[WORDS_MAX];

    errand->varlink = varlink_free(errand->varlink);
    if (error == -ETIMEDOUT) {
        snprintf(host->reason, sizeof host->reason, "no answer within %d s",
                 REMOTE_CONNECT_SECONDS);
        remote_end(&errand->remote);
    } else if (error < 0) {
        const char *failure = remote_failure(remote_wait(&errand->remote));
        bool has_words = last_words(errand->error_fd, words);
        snprintf(host->reason, sizeof host->reason, "%s%s%s", failure ? failure : strerror(-error),
                 has_words ? ": " : "", has_words ? words : "");
    } else {
        remote_end(&errand->remote);
    }
    closep(&errand->error_fd);
    *errand = (struct errand){.error_fd = -1};
}

/* Looks whether the reply has come. */
static void look(struct errand *errand, uint64_t now_usec)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    int r = varlink_receive(errand->varlink, &reply);

    if (r == -ETIMEDOUT && now_usec < errand->until_usec)
        return;
    if (r == 0 && reply.error) {
        snprintf(errand->host->reason, FLEET_REASON_MAX, "%s", "its daemon refused the call");
    } else if (r == 0) {
        errand->host->reply = json_incref(reply.parameters);
    }
    end(errand, r);
}

/* Waits for any reply, or until the time of a call is over. */
static void wait_for_any(const struct errand *errands)
{
    struct pollfd fds[FLEET_AT_ONCE];
    uint64_t now = clock_monotonic_usec(), until = UINT64_MAX;

    for (size_t i = 0; i < FLEET_AT_ONCE; i++) {
        bool active = errands[i].host;
        fds[i] =
            (struct pollfd){.fd = active ? varlink_fd(errands[i].varlink) : -1, .events = POLLIN};
        if (active && errands[i].until_usec < until)
            until = errands[i].until_usec;
    }
    poll(fds, FLEET_AT_ONCE, until > now ? (int)((until - now) / 1000) + 1 : 0);
}

void fleet_call(struct fleet *fleet, const char *socket, const char *method)
{
    struct errand errands[FLEET_AT_ONCE];
    size_t n_begun = 0, n_active;

    for (size_t i = 0; i < FLEET_AT_ONCE; i++)
        errands[i] = (struct errand){.error_fd = -1};
    for (size_t i = 0; i < fleet->n_hosts; i++) {
        json_decref(fleet->hosts[i].reply);
        fleet->hosts[i].reply = NULL;
        fleet->hosts[i].reason[0] = '\0';
    }
    do {
        n_active = 0;
        for (size_t i = 0; i < FLEET_AT_ONCE; i++) {
            while (!errands[i].host && n_begun < fleet->n_hosts) {
                int r = begin(&errands[i], &fleet->hosts[n_begun++], socket, method);
                if (r < 0)
                    end(&errands[i], r);
            }
            n_active += errands[i].host != NULL;
        }
        if (n_active > 0)
            wait_for_any(errands);
        for (size_t i = 0; i < FLEET_AT_ONCE; i++)
            if (errands[i].host)
                look(&errands[i], clock_monotonic_usec());
    } while (n_active > 0 || n_begun < fleet->n_hosts);
}
