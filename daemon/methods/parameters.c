#include "daemon/methods/parameters.h"

#include "daemon/methods/error_replies.h"
#include "proto/frame.h"

#include <errno.h>
#include <string.h>

struct model *manager_find_model(struct manager *manager, struct call *call, const char *name)
{
    struct model *model = scheduler_find_model(manager->scheduler, name);
    if (!model)
        reply_not_found(call, "model", name);
    return model;
}

struct layer *manager_find_layer(struct call *call, struct model *model, const char *name)
{
    struct layer *layer = model_find_layer(model, name);
    if (!layer)
        reply_not_found(call, "layer", name);
    return layer;
}

bool manager_on_full(struct manager *manager, struct call *call, const char *word,
                     enum on_full *ret)
{
    if (!word) {
        *ret = manager->on_full;
        return true;
    }
    if (on_full_parse(word, ret) < 0) {
        call_invalid_parameter(call, "onFull");
        return false;
    }
    return true;
}

bool manager_policy(struct manager *manager, struct call *call, const char *word,
                    const struct policy **ret)
{
    const struct policy *policy = word ? policy_find(word) : scheduler_policy(manager->scheduler);
    if (!policy) {
        call_invalid_parameter(call, "policy");
        return false;
    }
    *ret = policy;
    return true;
}

/* Takes the weight files of the call. If this fails, the parameter "weights" is wrong. */
static int take_weights(struct call *call, json_t *array, struct model_source *source)
{
    size_t n = json_array_size(array);
    json_t *element;
    size_t i;

    if (array && (!json_is_array(array) || n > FRAME_FDS_MAX))
        return -EINVAL;
    source->weights = calloc(n + 1, sizeof *source->weights);
    if (!source->weights)
        return -ENOMEM;
    json_array_foreach (array, i, element) {
        struct weights_parameters {
            const char *path;
            uint64_t fd_index;
        } weights = {0};
        static const struct field fields[] = {
            {"path", FIELD_STRING, offsetof(struct weights_parameters, path), FIELD_REQUIRED},
            {"fileDescriptor", FIELD_U64, offsetof(struct weights_parameters, fd_index),
             FIELD_REQUIRED},
            {0},
        };
        const char *key;
        if (fields_decode(fields, element, &weights, &key) < 0)
            return -EINVAL;
        struct named_fd *file = &source->weights[source->n_weights];
        file->fd = call_take_fd(call, weights.fd_index);
        if (file->fd < 0)
            return -EINVAL;
        source->n_weights++;
        file->path = strdup(weights.path);
        if (!file->path)
            return -ENOMEM;
    }
    return 0;
}

static int copy_string(const char *text, char **ret)
{
    *ret = text ? strdup(text) : NULL;
    return text && !*ret ? -ENOMEM : 0;
}

bool manager_model_source(struct manager *manager, struct call *call,
                          const struct source_parameters *parameters, struct model_source *ret)
{
    _cleanup_(model_source_done) struct model_source source = MODEL_SOURCE_NONE;
    bool has_fd = parameters->fd_index != UINT64_MAX;
    const char *wrong = NULL;

    source.owner = call_fd_owner(call);
    if (!!parameters->text + has_fd + !!parameters->path != 1)
        wrong = "definition";
    else if (parameters->path && !manager->model_dir)
        wrong = "path";
    else if (call_n_fds(call) != has_fd + json_array_size(parameters->weights))
        wrong = "fileDescriptors";
    else if (has_fd && (source.fd = call_take_fd(call, parameters->fd_index)) < 0)
        wrong = "definitionFileDescriptor";
    int r = wrong ? -EINVAL : take_weights(call, parameters->weights, &source);
    if (r == -EINVAL) {
        call_invalid_parameter(call, wrong ? wrong : "weights");
        return false;
    }

    source.n_bytes = parameters->text ? strlen(parameters->text) : 0;
    source.unit_bytes = parameters->unit_bytes;
    source.use = memory_use_new(&manager->memory_gate, call_peer(call)->tier == TIER_ADMIN);
    if (r < 0 || !source.use || copy_string(parameters->text, &source.text) < 0 ||
        copy_string(parameters->path, &source.path) < 0 ||
        copy_string(parameters->path ? manager->model_dir : NULL, &source.model_dir) < 0 ||
        copy_string(parameters->name, &source.name) < 0) {
        call_io_failed(call, "read", -ENOMEM);
        return false;
    }
    *ret = source;
    source = MODEL_SOURCE_NONE;
    return true;
}
