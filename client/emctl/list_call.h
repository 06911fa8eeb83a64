/* One call of List about the session's model, or about all models, whose rows may come in many
 * replies. */
#pragma once

#include "client/emctl/session.h"

/* `layer` is NULL, or the layer whose tensors are listed. Shows each reply with `show`, unless that
 * is NULL. With `ret_rows` it also joins the arrays `key` of all replies there; their texts are
 * then as the daemon sends them. */
int list_call(struct session *session, const char *layer, output_function show, const char *key,
              json_t *ret_rows);

/* Joins the model's layers in `ret_layers`, with the time of their last use. */
int list_call_used(struct session *session, json_t *ret_layers);
