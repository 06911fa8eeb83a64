/* Error replies with the interface file's parameters. */
#pragma once

#include "daemon/methods/manager.h"

void reply_read_failure(const struct manager *manager, struct call *call, int error,
                        const struct model_read_result *result);
/* The daemon uses as much memory beside the arena as it may, or would need more. */
void reply_overhead(const struct manager *manager, struct call *call);
void reply_model_refusal(struct call *call, const struct model_refusal *refusal);
/* The path of the first of the layer's files that has changed, or else of its first file. */
const char *layer_failed_path(const struct layer *layer);
/* A load has failed; `path` is that of the file that has changed, if that is why (-ESTALE). */
void reply_load_failure(struct call *call, int error, const char *path);
void reply_load_end(struct manager *manager, struct call *call, const struct load_end *end);
void reply_not_found(struct call *call, const char *kind, const char *name);
/* The layer has no such unit, or no units, or does not exist. */
void reply_unit_not_found(struct call *call, const struct model *model, const char *layer,
                          uint64_t unit);
void reply_limit(struct call *call, const char *limit, uint64_t maximum);
/* Busy: lists every layer that is loading or leased. */
void reply_busy(struct manager *manager, struct call *call);
