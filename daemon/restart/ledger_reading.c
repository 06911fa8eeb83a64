/* Owns what the readers of a ledger's parts share: the reason for a refusal, and the check of a
 * record. */
#include "daemon/restart/ledger_reading.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

int ledger_refuse(const struct ledger_reading *reading, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reading->why, LEDGER_WHY_MAX, format, arguments);
    va_end(arguments);
    return error;
}

bool ledger_is_zero(const void *bytes, size_t n_bytes)
{
    const unsigned char *at = bytes;
    return at[0] == 0 && memcmp(at, at + 1, n_bytes - 1) == 0;
}

int ledger_check_record(const struct ledger_reading *reading, const struct ledger_record *record,
                        uint64_t place, enum ledger_record_kind kind)
{
    if (ledger_is_zero(record, sizeof *record))
        return 0;
    if (record->crc != ledger_record_crc(record, place) || record->kind != kind ||
        record->state > LEDGER_MAPPED || record->step == 0 || record->step > reading->ledger->step)
        return ledger_refuse(reading, -EBADMSG,
                             "the ledger's record at byte %" PRIu64 " is damaged", place);
    return 1;
}

const struct ledger_slot *ledger_slot_of(const struct ledger *ledger, uint64_t id)
{
    const struct ledger_slot *slot = ledger->slots;
    while (slot->id != id)
        slot++;
    return slot;
}
