#include "client/emctl/model_units.h"

#include "client/emctl/error_message.h"
#include "client/emctl/list_call.h"
#include "client/library/safe_text.h"
#include "common/cleanup.h"
#include "common/definition/definition.h"
#include "common/residency/layer_units.h"

#include <errno.h>
#include <string.h>

/* Reads one tensor. `shape` has room for DEFINITION_RANK_MAX numbers. 0 or -EBADMSG. */
static int read_tensor(json_t *json, struct tensor *tensor, uint64_t *shape)
{
    const char *type;
    json_t *extents, *extent;
    json_int_t bytes;
    size_t i;

    if (json_unpack(json, "{s:s, s:s, s:o, s:I}", "name", &tensor->name, "dtype", &type, "shape",
                    &extents, "bytes", &bytes) < 0 ||
        bytes < 0 || dtype_parse(type, &tensor->type) < 0 || !json_is_array(extents) ||
        json_array_size(extents) > DEFINITION_RANK_MAX)
        return -EBADMSG;
    json_array_foreach (extents, i, extent) {
        if (!json_is_integer(extent) || json_integer_value(extent) < 0)
            return -EBADMSG;
        shape[i] = (uint64_t)json_integer_value(extent);
    }
    tensor->shape = shape;
    tensor->n_dims = (uint8_t)json_array_size(extents);
    tensor->bytes = (uint64_t)bytes;
    return 0;
}

static json_t *describe_group(const struct unit_group *group)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s*}", "kind", unit_kind_name(group->kind),
                     "name", group->name, "units", (json_int_t)group->n_units, "tensors",
                     (json_int_t)group->n_tensors, "unitBytes", (json_int_t)group->unit_bytes,
                     "bytes", (json_int_t)group->bytes, "uncut", group->uncut);
}

/* The groups of the units of these tensors. 0, -ENOMEM or -EBADMSG. */
static int find_groups(json_t *json, json_t *ret_groups)
{
    size_t n_listed = json_array_size(json), n = 0, n_groups = 0;
    json_int_t offset = -1;
    /* One element more than needed, so that no tensors are no failure. */
    _cleanup_(freep) struct tensor *tensors = calloc(n_listed + 1, sizeof *tensors);
    _cleanup_(freep) uint64_t *shapes =
        calloc((n_listed + 1) * DEFINITION_RANK_MAX, sizeof *shapes);
    _cleanup_(freep) struct unit_group *groups = NULL;

    if (!tensors || !shapes)
        return -ENOMEM;
    for (size_t i = 0; i < n_listed; i++) {
        json_t *tensor = json_array_get(json, i);
        json_int_t last = offset;
        if (read_tensor(tensor, &tensors[n], shapes + n * DEFINITION_RANK_MAX) < 0)
            return -EBADMSG;
        /* A tied weight stands there under each of its names. */
        offset = json_integer_value(json_object_get(tensor, "offset"));
        n += offset != last || tensors[n].bytes == 0;
    }
    int r = layer_units_find(tensors, (uint32_t)n, &groups, &n_groups);
    for (size_t i = 0; r == 0 && i < n_groups; i++)
        if (json_array_append_new(ret_groups, describe_group(&groups[i])) < 0)
            r = -ENOMEM;
    return r;
}

/* Appends a layer with its units to `result`. */
static int add_layer(struct session *session, json_t *layer, json_t *result)
{
    const char *name;
    json_int_t bytes;

    if (json_unpack(layer, "{s:s, s:I}", "name", &name, "bytes", &bytes) < 0)
        return session_bad_reply();
    json_t *tensors = json_array();
    int r = list_call(session, name, NULL, "tensors", tensors);
    if (r != EXIT_DONE) {
        json_decref(tensors);
        return r;
    }
    json_t *entry = json_pack("{s:s, s:I, s:[]}", "layer", name, "bytes", bytes, "groups");
    r = entry ? find_groups(tensors, json_object_get(entry, "groups")) : -ENOMEM;
    json_decref(tensors);
    if (r == 0 && !session->arguments->json)
        r = safe_json(entry);
    if (r == 0)
        r = json_array_append(result, entry) < 0 ? -ENOMEM : 0;
    json_decref(entry);
    if (r == -EBADMSG)
        return session_bad_reply();
    return r < 0 ? error_message_print(EXIT_OTHER, "%s.", strerror(-r)) : EXIT_DONE;
}

int model_units_list(struct session *session, json_t **ret)
{
    json_t *layers = json_array(), *result = json_array(), *layer;
    int r = list_call(session, NULL, NULL, "layers", layers);
    size_t i;

    json_array_foreach (layers, i, layer)
        if (r == EXIT_DONE)
            r = add_layer(session, layer, result);
    json_decref(layers);
    if (r == EXIT_DONE)
        *ret = result;
    else
        json_decref(result);
    return r;
}
