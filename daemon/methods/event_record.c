/* Owns the form of an event: one line in the log, and one object to the watchers. */
#include "daemon/methods/event_record.h"

#include "common/clock.h"
#include "daemon/methods/watchers.h"

#include <inttypes.h>
#include <stdarg.h>

enum { MESSAGE_TEXT_MAX = 1100 };

static const struct field event_fields[] = {
    {"event", FIELD_STRING, offsetof(struct event_record, name)},
    {"atUsec", FIELD_U64, offsetof(struct event_record, at_usec)},
    {"model", FIELD_STRING, offsetof(struct event_record, model), FIELD_NULLABLE},
    {"layer", FIELD_STRING, offsetof(struct event_record, layer), FIELD_NULLABLE},
    {"bytes", FIELD_U64, offsetof(struct event_record, bytes), FIELD_NULLABLE},
    {"from", FIELD_STRING, offsetof(struct event_record, from), FIELD_NULLABLE},
    {"to", FIELD_STRING, offsetof(struct event_record, to), FIELD_NULLABLE},
    REQUESTER_FIELDS(struct event_record, requester_row),
    {"policy", FIELD_STRING, offsetof(struct event_record, policy), FIELD_NULLABLE},
    {"reason", FIELD_STRING, offsetof(struct event_record, reason), FIELD_NULLABLE},
    {"message", FIELD_STRING, offsetof(struct event_record, message), FIELD_NULLABLE},
    {0},
};

static void tell_watchers(struct events *events, const struct event_record *record)
{
    if (watchers_exist(events->watchers))
        watchers_tell(events->watchers, fields_encode(event_fields, record));
}

static void write_to_log(enum log_level level, const struct event_record *record)
{
    const struct requester_row *requester = &record->requester_row;
    char pid[12];
    snprintf(pid, sizeof pid, "%" PRId32, record->requester.pid);
    const struct log_field all[] = {
        {"EDGEMIND_EVENT", record->name},
        {"EDGEMIND_MODEL", record->model},
        {"EDGEMIND_LAYER", record->layer},
        {"EDGEMIND_FROM", record->from},
        {"EDGEMIND_TO", record->to},
        {"EDGEMIND_POLICY", record->policy},
        {"EDGEMIND_REASON", record->reason},
        {"EDGEMIND_USER", requester->user},
        {"EDGEMIND_PID", requester->user ? pid : NULL},
        {"EDGEMIND_METHOD", requester->method},
    };
    struct log_field fields[sizeof all / sizeof *all];
    size_t n_fields = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].value)
            fields[n_fields++] = all[i];
    log_write(level, fields, n_fields, "%s", record->message);
}

void event_emit(struct events *events, enum log_level level, struct event_record record,
                const char *format, ...)
{
    char message[MESSAGE_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);

    requester_row_fill(&record.requester_row, &record.requester);
    record.at_usec = clock_realtime_usec();
    record.message = message;
    write_to_log(level, &record);
    tell_watchers(events, &record);
}
