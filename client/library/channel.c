/* Leaves to others: which layers are held (connection.c), and the meaning of replies, except those
 * to Stats, Acquire and Next. */
#include "client/library/channel.h"

#include "common/address_space.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/units.h"
#include "common/utf8.h"
#include "proto/interface.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

/* A healthy daemon accepts a connection at once. */
enum { CONNECT_USEC = 30 * 1000 * 1000 };

static int fail_to_connect(const char *path, int error, struct last_error *last_error)
{
    switch (error) {
    case -EACCES:
    case -EPERM:
        return last_error_set(last_error, error, "no permission for the socket %s", path);
    case -ETIMEDOUT:
        return last_error_set(last_error, error, "the daemon at %s takes no connection", path);
    case -ENAMETOOLONG:
        return last_error_set(last_error, error, "%s is too long for the path of a socket", path);
    default:
        return last_error_set(last_error, error, "no daemon at %s: %s", path, strerror(-error));
    }
}

int channel_open(struct channel *channel, const char *socket_path, uint64_t timeout_usec,
                 struct arena_map *likely, struct last_error *last_error)
{
    uint64_t connect_usec = timeout_usec < CONNECT_USEC ? timeout_usec : CONNECT_USEC;
    *channel = CHANNEL_CLOSED;
    /* The kernel takes 0 for no limit. */
    int r = varlink_connect(socket_path, connect_usec > 0 ? connect_usec : 1, &channel->varlink);
    if (r < 0)
        return fail_to_connect(socket_path, r, last_error);
    varlink_set_timeout(channel->varlink, timeout_usec);
    channel->socket_path = socket_path;
    channel->map = likely ? arena_map_ref(likely) : NULL;
    return 0;
}

void channel_close(struct channel *channel)
{
    varlink_free(channel->varlink);
    closep(&channel->arena_fd);
    arena_map_unref(channel->map);
    *channel = CHANNEL_CLOSED;
}

static int fail_in_use(const struct channel *channel, int error, struct last_error *last_error)
{
    switch (error) {
    case -ECONNRESET:
    case -EPIPE:
        return last_error_set(last_error, error, "the daemon at %s hung up", channel->socket_path);
    case -ETIMEDOUT:
        return last_error_set(last_error, error, "the daemon at %s did not answer in time",
                              channel->socket_path);
    case -ENODATA:
        return last_error_set(last_error, error,
                              "the arena has lost the layer: its daemon has gone");
    case -EBADMSG:
    case -EMSGSIZE:
        return last_error_set(last_error, -EBADMSG, "the answer from %s is no Varlink reply",
                              channel->socket_path);
    default:
        return last_error_set(last_error, error, "the connection to %s failed: %s",
                              channel->socket_path, strerror(-error));
    }
}

int channel_fail(const struct channel *channel, struct last_error *last_error)
{
    if (!channel->varlink)
        return last_error_set(last_error, -ENOTCONN, "not connected to a daemon");
    return fail_in_use(channel, channel->broken, last_error);
}

bool channel_hung_up(struct channel *channel)
{
    struct pollfd fd = {.fd = varlink_fd(channel->varlink), .events = POLLRDHUP};

    if (channel->broken == 0 && poll(&fd, 1, 0) > 0)
        channel->broken = -ECONNRESET;
    return channel->broken != 0;
}

int channel_bad_reply(int error, struct last_error *last_error)
{
    if (error != -EBADMSG)
        return last_error_set(last_error, error, "cannot read the daemon's reply: %s",
                              strerror(-error));
    return last_error_set(last_error, -EBADMSG,
                          "the daemon's reply is not what " MANAGER_INTERFACE
                          " describes; is it of another version?");
}

/* Any failure after a call has begun breaks the connection. A late reply would otherwise count as
 * the reply to the next call, and a call that is partly sent cannot be withdrawn. */
static int finish(struct channel *channel, int r, struct last_error *last_error)
{
    if (r < 0)
        channel->broken = r == -EMSGSIZE ? -EBADMSG : r;
    return r < 0 ? fail_in_use(channel, r, last_error) : 0;
}

/* Why there are no parameters. */
static int fail_to_pack(const struct error_subject *subject, struct last_error *last_error)
{
    if ((subject->model && !utf8_is_valid(subject->model)) ||
        (subject->layer && !utf8_is_valid(subject->layer)))
        return last_error_set(last_error, -EINVAL, "an argument is not valid UTF-8");
    return last_error_set(last_error, -ENOMEM, "cannot call the daemon: %s", strerror(ENOMEM));
}

/* `parameters` are borrowed. */
static int send_call(struct channel *channel, const char *method, json_t *parameters,
                     unsigned flags, const int *fds, size_t n_fds,
                     const struct error_subject *subject, struct last_error *last_error)
{
    char name[64];

    if (!channel->varlink || channel->broken != 0)
        return channel_fail(channel, last_error);
    if (!parameters)
        return fail_to_pack(subject, last_error);
    snprintf(name, sizeof name, MANAGER_INTERFACE ".%s", method);
    int r = varlink_send(channel->varlink, name, parameters, flags, fds, n_fds);
    if (r == -EMSGSIZE)
        return last_error_set(last_error, -EINVAL, "the call would be longer than a daemon takes");
    if (r == -ENOMEM || r == -EMFILE)
        return last_error_set(last_error, r, "cannot call the daemon: %s", strerror(-r));
    return finish(channel, r, last_error);
}

int channel_call(struct channel *channel, const char *method, json_t *parameters, const int *fds,
                 size_t n_fds, const struct error_subject *subject, struct last_error *last_error,
                 struct varlink_reply *ret)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

    int r = send_call(channel, method, parameters, 0, fds, n_fds, subject, last_error);
    json_decref(parameters);
    if (r == 0)
        r = finish(channel, varlink_receive(channel->varlink, &reply), last_error);
    if (r == 0 && reply.error)
        r = last_error_set_reply(last_error, &reply, subject);
    if (r < 0)
        return r;
    *ret = reply;
    reply = (struct varlink_reply){0};
    return 0;
}

int channel_release(struct channel *channel, json_t *lease, struct last_error *last_error)
{
    json_t *parameters = json_pack("{s:O}", "lease", lease);

    int r = send_call(channel, "Release", parameters, VARLINK_ONEWAY, NULL, 0,
                      &(struct error_subject){0}, last_error);
    json_decref(parameters);
    return r == 0 ? finish(channel, varlink_flush(channel->varlink), last_error) : r;
}

/* The arena's descriptor comes only once, so it is kept until the arena is mapped. */
static int take_arena(struct channel *channel, struct varlink_reply *reply)
{
    const json_t *index = json_object_get(reply->parameters, "arenaFileDescriptor");

    if (!index || json_is_null(index))
        return 0;
    if (!json_is_integer(index) || json_integer_value(index) < 0 || channel->map_confirmed ||
        channel->arena_fd >= 0)
        return -EBADMSG;
    channel->arena_fd = varlink_reply_take_fd(reply, (uint64_t)json_integer_value(index));
    if (channel->arena_fd < 0)
        return -EBADMSG;
    if (channel->map && arena_map_is_of(channel->map, channel->arena_fd)) {
        close(TAKE_FD(channel->arena_fd));
        channel->map_confirmed = true;
    } else
        channel->map = arena_map_unref(channel->map);
    return 0;
}

/* `what` has `n_bytes`, and so many addresses are needed in one piece. */
static int fail_to_map(const char *what, uint64_t n_bytes, int error, struct last_error *last_error)
{
    char size[SIZE_TEXT_MAX], text[ADDRESS_SPACE_TEXT_MAX];
    return last_error_set(
        last_error, error, "cannot map the %s of %s: %s", what, size_format(n_bytes, size),
        error == -ENOMEM ? address_space_explain(n_bytes, text) : strerror(-error));
}

static int map_arena(struct channel *channel, struct last_error *last_error)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    json_int_t capacity_bytes;

    if (channel->map_confirmed)
        return 0;
    if (channel->arena_fd < 0)
        return last_error_set(last_error, -EOPNOTSUPP,
                              "the daemon only simulates: it has no arena");
    int r = channel_call(channel, "Stats", json_object(), NULL, 0, &(struct error_subject){0},
                         last_error, &reply);
    if (r < 0)
        return r;
    r = json_read(reply.parameters, "{s:{s:I}}", "arena", "capacityBytes", &capacity_bytes);
    if (r == 0 && capacity_bytes < 0)
        r = -EBADMSG;
    if (r < 0)
        return channel_bad_reply(r, last_error);
    r = arena_map_new(channel->arena_fd, (uint64_t)capacity_bytes, &channel->map);
    if (r == -EBADMSG)
        return channel_bad_reply(r, last_error);
    if (r < 0)
        return fail_to_map("arena", (uint64_t)capacity_bytes, r, last_error);
    channel->arena_fd = -1;
    channel->map_confirmed = true;
    return 0;
}

int channel_map(struct channel *channel, struct varlink_reply *reply, bool has_units,
                struct last_error *last_error, struct mapped_layer *ret)
{
    int r = take_arena(channel, reply);
    if (r < 0)
        return channel_bad_reply(r, last_error);
    r = map_arena(channel, last_error);
    if (r < 0)
        return r;
    r = mapped_layer_init(ret, reply->parameters, channel->map, has_units);
    if (r == -EBADMSG)
        return channel_bad_reply(r, last_error);
    if (r == -ENODATA)
        return fail_in_use(channel, channel->broken = r, last_error);
    json_int_t bytes = json_integer_value(json_object_get(reply->parameters, "bytes"));
    return r < 0 ? fail_to_map("layer", (uint64_t)bytes, r, last_error) : 0;
}

/* Releases a layer that could not be mapped. The failure to map it stays the kept error. */
static void give_back(struct channel *channel, const struct varlink_reply *acquired)
{
    _cleanup_(last_error_done) struct last_error ignored = {0};
    json_t *lease = json_object_get(acquired->parameters, "lease");

    if (lease)
        (void)channel_release(channel, lease, &ignored);
}

json_t *channel_add(json_t *parameters, const char *key, json_int_t number)
{
    if (number == 0 || !parameters ||
        json_object_set_new(parameters, key, json_integer(number)) == 0)
        return parameters;
    json_decref(parameters);
    return NULL;
}

int channel_acquire(struct channel *channel, const char *model, const char *layer, json_t *units,
                    uint64_t wait_usec, json_int_t fill, struct last_error *last_error,
                    struct mapped_layer *ret)
{
    const struct error_subject subject = {.model = model, .layer = layer};
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    json_t *parameters =
        json_pack("{s:s, s:s, s:O*}", "model", model, "layer", layer, "units", units);
    parameters = channel_add(parameters, "waitUsec", (json_int_t)wait_usec);
    parameters = channel_add(parameters, "fill", fill);
    int r = channel_call(channel, "Acquire", parameters, NULL, 0, &subject, last_error, &reply);
    if (r < 0)
        return r;
    r = channel_map(channel, &reply, units != NULL, last_error, ret);
    if (r < 0)
        give_back(channel, &reply);
    return r;
}
