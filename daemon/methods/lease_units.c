#include "daemon/methods/lease_units.h"

#include "common/definition/definition_units.h"
#include "daemon/methods/error_replies.h"

/* A unit is wrong, because it is no number, or because it was named before. */
static bool refuse(struct call *call, size_t index)
{
    char parameter[32];
    snprintf(parameter, sizeof parameter, "units[%zu]", index);
    call_invalid_parameter(call, parameter);
    return false;
}

static bool find_all(struct call *call, struct model *model, const char *layer, const json_t *units,
                     struct layer **ret, uint32_t *ret_n)
{
    char name[DEFINITION_NAME_MAX + 1];
    json_t *unit;
    size_t i;

    json_array_foreach (units, i, unit) {
        json_int_t number = json_integer_value(unit);
        if (!json_is_integer(unit) || number < 0)
            return refuse(call, i);
        struct layer *found = definition_unit_name(layer, (uint64_t)number, name)
                                  ? model_find_layer(model, name)
                                  : NULL;
        if (!found) {
            reply_unit_not_found(call, model, layer, (uint64_t)number);
            return false;
        }
        if (found->counted)
            return refuse(call, i);
        found->counted = 1;
        ret[(*ret_n)++] = found;
    }
    return true;
}

bool lease_units_find(struct call *call, struct model *model, const char *layer,
                      const json_t *units, struct layer *ret[static LEASE_UNITS_MAX],
                      uint32_t *ret_n)
{
    *ret_n = 0;
    if (!json_is_array(units) || json_array_size(units) == 0) {
        call_invalid_parameter(call, "units");
        return false;
    }
    if (json_array_size(units) > LEASE_UNITS_MAX) {
        reply_limit(call, "units of a lease", LEASE_UNITS_MAX);
        return false;
    }
    bool found = find_all(call, model, layer, units, ret, ret_n);
    for (uint32_t i = 0; i < *ret_n; i++)
        ret[i]->counted = 0;
    return found;
}
