/* Owns the text of the status line. */
#include "daemon/status_line.h"

#include "common/units.h"

#include <inttypes.h>
#include <stdio.h>

void status_line_format(const struct scheduler *scheduler, const struct backing *backing,
                        const struct sample *sample, char ret_line[static STATUS_LINE_MAX])
{
    const struct arena *arena = scheduler_arena(scheduler);
    uint64_t page_bytes = arena_page_bytes(arena);
    struct scheduler_stats stats;
    char used[SIZE_TEXT_MAX], capacity[SIZE_TEXT_MAX], trimmed[SIZE_TEXT_MAX];
    uint64_t hole_bytes = backing ? backing_hole_bytes(backing) : 0;

    scheduler_get_stats(scheduler, &stats);
    snprintf(
        ret_line, STATUS_LINE_MAX,
        "%s of %s used (%s), %" PRIu64 " layers of %" PRIu64 " models%s%s%s%s",
        size_format((arena_capacity_pages(arena) - arena_free_pages(arena)) * page_bytes, used),
        size_format(arena_capacity_pages(arena) * page_bytes, capacity),
        backing ? backing_name(backing) : "simulated", stats.layers_resident, stats.n_models,
        sample->aligned ? "" : "; the system disagrees with the ledger",
        sample->swap_bytes + sample->arena_swapped_bytes > 0 ? "; swapped out" : "",
        hole_bytes > 0 ? "; given back to the system: " : "",
        hole_bytes > 0 ? size_format(hole_bytes, trimmed) : "");
}
