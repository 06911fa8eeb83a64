#include "daemon/methods/manager.h"

struct requester manager_requester(const struct call *call)
{
    const struct peer *peer = call_peer(call);
    return (struct requester){call_method(call), peer->uid, peer->pid};
}

void manager_begin_request(struct manager *manager, const struct call *call)
{
    struct requester requester = manager_requester(call);
    scheduler_set_requester(manager->scheduler, &requester);
}

void manager_end_request(struct manager *manager)
{
    scheduler_set_requester(manager->scheduler, NULL);
}
