/* Frees models that were removed on a worker, because the loop would need milliseconds for many
 * layers. */
#pragma once

#include "daemon/scheduler/model.h"

/* `workers` is a struct workers *. Takes the model. */
void disposal_of_model(struct model *model, void *workers);
