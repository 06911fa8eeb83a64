/* The capacity first holds what every token uses. Experts get the rest. Which experts the tokens
 * use is guessed (route_guess.h). */
#include "client/emctl/plan_experts.h"

#include "client/emctl/error_message.h"
#include "client/emctl/model_units.h"
#include "client/emctl/replay_reply.h"
#include "client/emctl/route_guess.h"
#include "common/cleanup.h"
#include "common/units.h"

#include <errno.h>
#include <string.h>

struct model {
    struct route_layer *layers;
    uint32_t n_layers, n_moe_layers;
    uint64_t expert_bytes, dense_bytes, table_bytes; /* of all layers */
    uint64_t tied_bytes;                             /* of the tables that may be the output, too */
    bool has_head;
};

static bool is_head(const char *name)
{
    size_t n = strlen(name), n_head = strlen("lm_head.weight");

    return strcmp(name, "output.weight") == 0 ||
           (n >= n_head && strcmp(name + n - n_head, "lm_head.weight") == 0);
}

/* 0, -EBADMSG, or -E2BIG: an expert of more than ROUTE_BYTES_MAX. */
static int add_group(struct model *model, struct route_layer *layer, json_t *group)
{
    const char *kind, *name;
    json_int_t units, unit_bytes, bytes;

    if (json_unpack(group, "{s:s, s:s, s:I, s:I, s:I}", "kind", &kind, "name", &name, "units",
                    &units, "unitBytes", &unit_bytes, "bytes", &bytes) < 0)
        return -EBADMSG;
    if ((uint64_t)unit_bytes > ROUTE_BYTES_MAX)
        return strcmp(kind, "expert") == 0 ? -E2BIG : 0;
    model->has_head |= is_head(name);
    if (strcmp(kind, "expert") == 0 && layer->n_experts == 0) {
        layer->n_experts = (uint32_t)units;
        layer->expert_bytes = (uint64_t)unit_bytes;
        model->expert_bytes += (uint64_t)bytes;
        model->n_moe_layers++;
    } else if (strcmp(kind, "chunk") == 0) {
        model->table_bytes += (uint64_t)bytes;
        model->tied_bytes += strstr(name, "per_layer") ? 0 : (uint64_t)bytes;
    } else {
        model->dense_bytes += (uint64_t)bytes;
    }
    return 0;
}

static int read_model(json_t *layers, struct model *model)
{
    json_t *layer, *group;
    size_t i, j;
    int r = 0;

    model->n_layers = (uint32_t)json_array_size(layers);
    model->layers = calloc((size_t)model->n_layers + 1, sizeof *model->layers);
    if (!model->layers)
        return -ENOMEM;
    json_array_foreach (layers, i, layer) {
        json_array_foreach (json_object_get(layer, "groups"), j, group) {
            if (r == 0)
                r = add_group(model, &model->layers[i], group);
        }
    }
    /* Without a tensor of its own for the output, each token reads the whole table of tokens. */
    if (!model->has_head) {
        model->dense_bytes += model->tied_bytes;
        model->table_bytes -= model->tied_bytes;
    }
    return r;
}

static json_t *describe(const struct session *session, const struct model *model, uint32_t n_used,
                        const struct route_trace *trace, uint64_t capacity_bytes)
{
    uint64_t token_bytes = model->dense_bytes;

    for (uint32_t i = 0; i < model->n_layers; i++) {
        const struct route_layer *layer = &model->layers[i];
        token_bytes +=
            layer->expert_bytes * (layer->n_experts < n_used ? layer->n_experts : n_used);
    }
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "model",
                     session->subject.model, "capacityBytes", (json_int_t)capacity_bytes, "layers",
                     (json_int_t)model->n_moe_layers, "tokens", (json_int_t)trace->n_steps, "uses",
                     (json_int_t)trace->n_uses, "expertsUsed", (json_int_t)n_used, "expertBytes",
                     (json_int_t)model->expert_bytes, "denseBytes", (json_int_t)model->dense_bytes,
                     "tableBytes", (json_int_t)model->table_bytes, "tokenBytes",
                     (json_int_t)token_bytes);
}

static int foresee(struct session *session, const struct model *model)
{
    _cleanup_(route_trace_done) struct route_trace trace = {0};
    uint32_t n_used = (uint32_t)strtoul(session->arguments->experts, NULL, 10);
    uint64_t capacity_bytes;
    char needed[SIZE_TEXT_MAX];

    size_parse(session->arguments->capacity, &capacity_bytes);
    if (model->n_moe_layers == 0)
        return error_message_print(
            EXIT_OTHER,
            "%s has no experts. Plan it without --experts. 'emctl list MODEL "
            "--units' shows what a known model has.",
            session->subject.model);
    int r = route_guess(model->layers, model->n_layers, n_used, &trace);
    if (r == -E2BIG)
        return error_message_print(EXIT_OTHER, "the tokens would use too many experts to plan.");
    if (r < 0)
        return error_message_print(EXIT_OTHER, "%s.", strerror(-r));
    json_t *reply = describe(session, model, n_used, &trace, capacity_bytes);
    r = capacity_bytes < model->dense_bytes
            ? EXIT_OUT_OF_MEMORY
            : replay_reply(session, &trace, capacity_bytes - model->dense_bytes, reply);
    json_decref(reply);
    if (r == EXIT_OUT_OF_MEMORY)
        error_message_print(r,
                            "out of memory: every token uses %s, and the experts of a layer. Plan "
                            "for more, or without --experts.",
                            size_format(model->dense_bytes + replay_least_bytes(&trace), needed));
    return r;
}

int plan_experts(struct session *session, const struct model_files *files)
{
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};
    struct model model = {0};
    json_t *layers = NULL;
    int r = session_send(session, "LoadModel", json_pack("{s:s}", "onFull", "evict"), false, files);

    if (r == EXIT_DONE)
        r = session_receive(session, &reply);
    if (r != EXIT_DONE)
        return r;
    session->subject.model = json_string_value(json_object_get(reply.parameters, "model"));
    if (!session->subject.model)
        return session_bad_reply();
    r = model_units_list(session, &layers);
    if (r != EXIT_DONE)
        return r;
    int error = read_model(layers, &model);
    json_decref(layers);
    if (error == -EBADMSG)
        r = session_bad_reply();
    else if (error < 0)
        r = error_message_print(EXIT_OTHER, "%s: %s.", session->subject.model,
                                error == -E2BIG ? "an expert is larger than 1 TiB"
                                                : strerror(-error));
    else
        r = foresee(session, &model);
    free(model.layers);
    session->subject.model = NULL;
    return r;
}
