#include "daemon/methods/manager.h"

#include "daemon/methods/view_watch.h"

int manager_begin(struct manager *manager)
{
    leases_init(&manager->leases, manager->scheduler);
    orphans_init(&manager->orphans, manager->base, &manager->leases,
                 manager->backing ? backing_fd(manager->backing) : -1);
    turns_init(&manager->turns);
    memory_gate_init(&manager->memory_gate, memory_gate_measure);
    run_choices_init(&manager->choices, manager->scheduler, manager->planners);
    return view_plans_init(&manager->view_plans, manager->base, manager->scheduler,
                           view_watch_changed);
}

void manager_end(struct manager *manager)
{
    view_plans_done(&manager->view_plans);
}

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
