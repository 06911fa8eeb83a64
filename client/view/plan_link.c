#include "client/view/plan_link.h"

#include "client/view/daemon_link.h"
#include "proto/interface.h"

#include <errno.h>
#include <string.h>

void plan_link_close(struct plan_link *link)
{
    link->varlink = varlink_free(link->varlink);
}

static int lose(struct plan_link *link)
{
    plan_link_close(link);
    return -EPIPE;
}

int plan_link_open(struct plan_link *link, const struct view *view)
{
    int r = daemon_link_connect(&link->varlink);

    if (r < 0)
        return r;
    varlink_set_timeout(link->varlink, 0);
    json_t *parameters = json_pack("{s:O}", "view", view->id);
    r = !parameters ? -ENOMEM
                    : varlink_send(link->varlink, MANAGER_INTERFACE ".WatchViews", parameters,
                                   VARLINK_MORE, NULL, 0);
    json_decref(parameters);
    return r < 0 ? lose(link) : 0;
}

int plan_link_receive(struct plan_link *link, json_t **ret)
{
    for (;;) {
        _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

        int r = varlink_receive(link->varlink, &reply);
        if (r == -ETIMEDOUT)
            return -EAGAIN;
        if (r < 0 || reply.error || !reply.continues)
            return lose(link);
        if (!json_object_get(reply.parameters, "keep"))
            continue; /* the first reply */
        *ret = json_incref(reply.parameters);
        return 0;
    }
}

static unsigned value(char digit)
{
    return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

void plan_apply(const json_t *plan, struct view *view)
{
    const char *keep = json_string_value(json_object_get(plan, "keep"));
    const json_t *hold = json_object_get(plan, "holdBytes");
    size_t n_digits = keep ? strlen(keep) : 0;

    view->chance.hold_bytes = json_is_integer(hold) && json_integer_value(hold) >= 0
                                  ? (uint64_t)json_integer_value(hold)
                                  : UINT64_MAX;

    for (uint32_t i = 0; i < view->table.n_units; i++) {
        uint32_t index = view->table.indices[i];
        view->units[i].is_kept = index / 4 < n_digits && (value(keep[index / 4]) >> index % 4 & 1);
    }
}
