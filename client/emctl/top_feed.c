/* Owns when to ask for what. In a frame it asks for the statistics and for the models that have
 * changed, and now and then for the views. It asks again only after all replies have come. */
#include "client/emctl/top_feed.h"

#include "client/emctl/error_message.h"
#include "client/library/safe_text.h"
#include "common/clock.h"
#include "proto/interface.h"

#include <errno.h>
#include <string.h>

enum {
    USEC_PER_SEC = 1000 * 1000,
    RETRY_USEC = USEC_PER_SEC / 2,
    REMOTE_RETRY_USEC = 3 * USEC_PER_SEC,
    SILENT_USEC = 3 * USEC_PER_SEC,
    VIEWS_FRAMES = 4,
    PAGES_MAX = 20 /* of 100 models, in a frame */
};

static int take(struct top_data *data, const char *method, json_t *reply, bool *ret_more)
{
    *ret_more = false;
    if (safe_json(reply) < 0)
        return -ENOMEM;
    if (strcmp(method, "Usage") == 0)
        return top_data_take_usage(data, reply, ret_more);
    if (strcmp(method, "History") == 0)
        return top_data_take_history(data, reply, clock_monotonic_usec());
    if (strcmp(method, "Stats") == 0)
        return top_data_take_stats(data, reply, clock_monotonic_usec());
    return top_data_take_views(data, reply);
}

static int call(struct session *session, struct top_data *data, const char *method, bool *ret_more)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    json_t *parameters = strcmp(method, "Usage") == 0
                             ? json_pack("{s:I}", "since", (json_int_t)data->change)
                             : json_object();
    int r = session_send(session, method, parameters, false, NULL);

    if (r == EXIT_DONE)
        r = session_receive(session, &reply);
    if (r == EXIT_DONE && take(data, method, reply.parameters, ret_more) < 0)
        r = session_bad_reply();
    return r;
}

int top_feed_fetch(struct session *session, struct top_data *data)
{
    bool more = true;
    int r;

    top_data_begin_listing(data);
    r = call(session, data, "History", &more);
    if (r == EXIT_DONE)
        r = call(session, data, "Stats", &more);
    more = true;
    for (unsigned i = 0; r == EXIT_DONE && more && i < PAGES_MAX; i++)
        r = call(session, data, "Usage", &more);
    return r == EXIT_DONE ? call(session, data, "Views", &more) : r;
}

int top_feed_begin(struct top_feed *feed, struct session *session, struct top_data *data)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

    *feed = (struct top_feed){.calls = session, .data = data};
    session_init(&feed->events, session->arguments);
    int r = top_feed_fetch(session, data);
    if (r == EXIT_DONE)
        r = session_send(&feed->events, "Watch", json_object(), true, NULL);
    if (r == EXIT_DONE)
        r = session_receive(&feed->events, &reply);
    if (r != EXIT_DONE)
        return r;
    varlink_set_timeout(feed->calls->varlink, 0);
    varlink_set_timeout(feed->events.varlink, 0);
    session->unattended = feed->events.unattended = true;
    return EXIT_DONE;
}

void top_feed_end(struct top_feed *feed)
{
    session_end(&feed->events, EXIT_OTHER);
}

static void lose(struct top_feed *feed, int error)
{
    session_disconnect(feed->calls);
    session_disconnect(&feed->events);
    feed->n_waiting = 0;
    if (feed->away_since_usec > 0)
        return;
    feed->away_since_usec = clock_monotonic_usec();
    top_data_note(feed->data, "the daemon is away: %s",
                  error == -ECONNRESET || error == -EPIPE ? "it hung up" : strerror(-error));
}

static int send_call(struct top_feed *feed, struct session *session, const char *method,
                     json_t *parameters, bool more)
{
    char name[64];

    snprintf(name, sizeof name, MANAGER_INTERFACE ".%s", method);
    int r = parameters
                ? varlink_send(session->varlink, name, parameters, more ? VARLINK_MORE : 0, NULL, 0)
                : -ENOMEM;
    json_decref(parameters);
    if (r == 0 && !more) {
        if (feed->n_waiting == 0)
            feed->asked_usec = clock_monotonic_usec();
        feed->waiting[feed->n_waiting++] = method;
    }
    return r;
}

static int ask_usage(struct top_feed *feed)
{
    return send_call(feed, feed->calls, "Usage",
                     json_pack("{s:I}", "since", (json_int_t)feed->data->change), false);
}

static int ask_all(struct top_feed *feed)
{
    /* The more views there are, the rarer they are all listed. */
    uint64_t frames = VIEWS_FRAMES * (1 + (uint64_t)feed->data->views_total / TOP_VIEWS_MAX);
    int r = send_call(feed, feed->calls, "Stats", json_object(), false);

    feed->n_pages = 1;
    if (r == 0)
        r = ask_usage(feed);
    if (r == 0 && feed->n_frames++ % frames == 0)
        r = send_call(feed, feed->calls, "Views", json_object(), false);
    return r;
}

static void come_back(struct top_feed *feed)
{
    uint64_t now = clock_monotonic_usec();

    top_data_take_absence(feed->data, now);
    if (now - feed->tried_usec < (feed->calls->arguments->host ? REMOTE_RETRY_USEC : RETRY_USEC))
        return;
    feed->tried_usec = now;
    int r = session_try_connect(feed->calls);
    if (r == 0)
        r = session_try_connect(&feed->events);
    if (r == 0) {
        varlink_set_timeout(feed->calls->varlink, 0);
        varlink_set_timeout(feed->events.varlink, 0);
        r = send_call(feed, &feed->events, "Watch", json_object(), true);
    }
    if (r == 0) {
        top_data_begin_listing(feed->data);
        r = ask_all(feed);
    }
    if (r < 0)
        lose(feed, r);
}

void top_feed_ask(struct top_feed *feed)
{
    int r = 0;

    if (!feed->calls->varlink)
        come_back(feed);
    else if (feed->n_waiting == 0)
        r = ask_all(feed);
    if (r < 0)
        lose(feed, r);
}

void top_feed_poll_fds(const struct top_feed *feed, struct pollfd fds[static TOP_FEED_FDS])
{
    const struct varlink *connections[] = {feed->calls->varlink, feed->events.varlink};

    for (unsigned i = 0; i < TOP_FEED_FDS; i++)
        fds[i] = (struct pollfd){.fd = connections[i] ? varlink_fd(connections[i]) : -1,
                                 .events = POLLIN};
}

/* Takes one reply to a call. Returns 1, or 0 if there is none, or a negative errno. */
static int take_reply(struct top_feed *feed)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    bool more;
    int r = varlink_receive(feed->calls->varlink, &reply);

    if (r < 0)
        return r == -ETIMEDOUT || r == -ENODATA ? 0 : r;
    const char *method = feed->waiting[0];
    feed->n_waiting--;
    memmove(feed->waiting, feed->waiting + 1, feed->n_waiting * sizeof *feed->waiting);
    feed->asked_usec = clock_monotonic_usec();
    if (reply.error)
        return -EBADMSG;
    r = take(feed->data, method, reply.parameters, &more);
    if (r == 0 && more && feed->data->listing && feed->n_pages++ < PAGES_MAX)
        r = ask_usage(feed);
    if (r == 0 && feed->away_since_usec > 0) {
        feed->away_since_usec = 0;
        top_data_note(feed->data, "connected again, to process %" JSON_INTEGER_FORMAT,
                      feed->data->stats.pid);
    }
    return r < 0 ? r : 1;
}

/* The same for events. */
static int take_event(struct top_feed *feed)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    int r = varlink_receive(feed->events.varlink, &reply);

    if (r < 0)
        return r == -ETIMEDOUT || r == -ENODATA ? 0 : r;
    if (reply.error)
        return -EBADMSG;
    r = safe_json(reply.parameters);
    if (r == 0)
        r = top_data_take_events(feed->data, reply.parameters);
    if (r == 0 && !reply.continues) /* we were too slow */
        r = send_call(feed, &feed->events, "Watch", json_object(), true);
    return r < 0 ? r : 1;
}

void top_feed_take(struct top_feed *feed)
{
    enum { EVENTS_MAX = 256 }; /* at a time, so that keys are still served */
    int r = 1;

    while (r > 0 && feed->calls->varlink)
        r = take_reply(feed);
    if (r == 0 && feed->events.varlink) {
        r = 1;
        for (unsigned i = 0; r > 0 && i < EVENTS_MAX; i++)
            r = take_event(feed);
    }
    if (r < 0)
        lose(feed, r);
}

uint64_t top_feed_silent_since_usec(const struct top_feed *feed)
{
    if (feed->away_since_usec > 0)
        return feed->away_since_usec;
    bool silent = feed->n_waiting > 0 && clock_monotonic_usec() - feed->asked_usec > SILENT_USEC;
    return silent ? feed->asked_usec : 0;
}
