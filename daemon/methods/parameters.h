/* The parameters that several methods take. If a function returns false or NULL, it has answered
 * the call with an error. */
#pragma once

#include "daemon/methods/manager.h"

struct model *manager_find_model(struct manager *manager, struct call *call, const char *name);
struct layer *manager_find_layer(struct call *call, struct model *model, const char *name);

/* Without a word they give the daemon's own setting. */
bool manager_on_full(struct manager *manager, struct call *call, const char *word,
                     enum on_full *ret);
bool manager_policy(struct manager *manager, struct call *call, const char *word,
                    const struct policy **ret);

/* The parameters in which a call may give a model: as text, by descriptor or by path. */
struct source_parameters {
    const char *text;
    uint64_t fd_index; /* UINT64_MAX: absent */
    const char *path;
    json_t *weights;
    const char *name;
    uint64_t unit_bytes;
};
#define SOURCE_FIELDS(type, member)                                               \
    {"definition", FIELD_STRING, offsetof(type, member.text)},                    \
        {"definitionFileDescriptor", FIELD_U64, offsetof(type, member.fd_index)}, \
        {"path", FIELD_STRING, offsetof(type, member.path)},                      \
        {"weights", FIELD_JSON, offsetof(type, member.weights)},                  \
        {"name", FIELD_STRING, offsetof(type, member.name)},                      \
    {                                                                             \
        "unitBytes", FIELD_U64, offsetof(type, member.unit_bytes)                 \
    }
bool manager_model_source(struct manager *manager, struct call *call,
                          const struct source_parameters *parameters, struct model_source *ret);
