/* Makes a route trace where there is none: which experts the tokens of a text might use. Routers
 * prefer some experts, others in each text, and often take an expert again that they took for the
 * token before. So an expert is in a quarter of the cases one of the last token's, by chance, and
 * otherwise one of a third of the layer's experts, where half of these cases go to a quarter of
 * that third. The
 * policies' hit rates with this guess are near those with recorded traces of two models. */
#pragma once

#include "client/emctl/route_trace.h"

enum { ROUTE_GUESS_AGAIN_PERCENT = 25, ROUTE_GUESS_PREFERRED = 3, ROUTE_GUESS_TOKENS = 500 };

/* `layers`: copied, with their n_experts; those with none have no passes. A token uses `n_used` of
 * them in each layer, or all if there are fewer; at least 1, and at most ROUTE_PASS_MAX. The same
 * arguments make the same trace. 0; -E2BIG: more than ROUTE_USES_MAX; or -ENOMEM. */
int route_guess(const struct route_layer *layers, uint32_t n_layers, uint32_t n_used,
                struct route_trace *ret);
