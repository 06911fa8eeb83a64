/* What the metrics tell of the parts that the methods know. */
#include "daemon/methods/manager.h"

#include "common/clock.h"

void manager_facts(const struct manager *manager, struct exposition_facts *ret)
{
    const struct holder *holder;

    *ret = (struct exposition_facts){
        .version = EDGEMIND_VERSION,
        .on_full = on_full_name(manager->on_full),
        .started_usec = clock_realtime_before(clock_monotonic_usec() - manager->started_usec),
        .overhead_limit_bytes = manager->overhead_limit_bytes,
        .committed_bytes = manager->backing ? backing_committed_bytes(manager->backing) : 0,
        .n_waiting = waits_count(manager->waits),
        .sample = monitor_last(manager->monitor),
        .pressure = manager->pressure,
        .immediate_calls = server_call_times(manager->server, false),
        .deferred_calls = server_call_times(manager->server, true),
    };
    if (manager->holes)
        ret->holes = holes_stats(manager->holes);
    server_get_stats(manager->server, &ret->server);
    LIST_FOREACH (holder, &manager->leases.holders, entry) {
        ret->n_leases += holder->n_leases;
        ret->n_readers += holder->n_leases > 0;
    }
}
