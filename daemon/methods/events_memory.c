/* Events of the daemon's and the machine's memory. */
#include "daemon/methods/event_record.h"

#include "common/units.h"
#include "daemon/methods/events.h"

#include <inttypes.h>
#include <string.h>

void events_on_sample(struct events *events, const struct sample *sample)
{
    char committed[SIZE_TEXT_MAX], swapped[SIZE_TEXT_MAX];

    if (sample->aligned == events->misaligned) {
        events->misaligned = !sample->aligned;
        if (sample->aligned)
            event_emit(events, LOG_LEVEL_INFO,
                       (struct event_record){.name = "aligned", .bytes = UINT64_MAX},
                       "the operating system agrees with the ledger again");
        else
            event_emit(events, LOG_LEVEL_WARNING,
                       (struct event_record){.name = "misaligned", .bytes = UINT64_MAX},
                       "the operating system disagrees with the ledger: the arena's file holds %s, "
                       "%+" PRId64 " bytes against the ledger; %s of it is swapped out",
                       size_format(sample->arena_file_bytes, committed), sample->drift_bytes,
                       size_format(sample->arena_swapped_bytes, swapped));
    }

    bool is_swapped = sample->swap_bytes + sample->arena_swapped_bytes > 0;
    if (is_swapped && !events->swapped)
        event_emit(events, LOG_LEVEL_WARNING,
                   (struct event_record){.name = "swapped",
                                         .bytes = sample->swap_bytes + sample->arena_swapped_bytes},
                   "%s of the daemon and %s of the arena are swapped out; mlock=yes prevents it",
                   size_format(sample->swap_bytes, committed),
                   size_format(sample->arena_swapped_bytes, swapped));
    events->swapped = is_swapped;
}

void events_on_pressure(struct events *events, const struct pressure *pressure)
{
    char text[PRESSURE_TEXT_MAX];

    if (pressure->cause)
        event_emit(events, LOG_LEVEL_WARNING,
                   (struct event_record){.name = "pressure-begun",
                                         .bytes = pressure->last.available_bytes,
                                         .reason = pressure_cause_name(pressure->cause)},
                   "memory is short: %s",
                   pressure_describe(pressure->cause, &pressure->last, text));
    else
        event_emit(events, LOG_LEVEL_NOTICE,
                   (struct event_record){.name = "pressure-ended",
                                         .bytes = pressure->last.available_bytes},
                   "memory is no longer short: %s",
                   pressure_describe(PRESSURE_NONE, &pressure->last, text));
}

void events_on_trimmed(struct events *events, const struct pressure *pressure,
                       const struct trim_report *report)
{
    char bytes[SIZE_TEXT_MAX], missing[SIZE_TEXT_MAX];

    event_emit(events, LOG_LEVEL_NOTICE,
               (struct event_record){.name = "trimmed",
                                     .bytes = report->bytes,
                                     .reason = pressure_cause_name(pressure->cause)},
               "because memory is short, %" PRIu64 " layer%s that nobody used %s evicted, and %s "
               "were given back to the system; the arena now lacks %s",
               report->n_layers, report->n_layers == 1 ? "" : "s",
               report->n_layers == 1 ? "was" : "were", size_format(report->bytes, bytes),
               size_format(report->missing_bytes, missing));
}

void events_on_taken_back(struct events *events, uint64_t bytes)
{
    char text[SIZE_TEXT_MAX];

    event_emit(events, LOG_LEVEL_NOTICE,
               (struct event_record){.name = "taken-back", .bytes = bytes},
               "the arena has all its memory again; %s were taken from the system",
               size_format(bytes, text));
}

void events_on_take_back_delayed(struct events *events, uint64_t missing_bytes, int error)
{
    char text[SIZE_TEXT_MAX];

    event_emit(events, LOG_LEVEL_WARNING,
               (struct event_record){.name = "take-back-delayed", .bytes = missing_bytes},
               "the arena lacks %s that were given back to the system, and cannot have them yet "
               "(%s); it will try again",
               size_format(missing_bytes, text), strerror(-error));
}
