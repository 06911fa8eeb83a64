#include "daemon/weights/load_failures.h"

#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void load_failures_note(struct layer *layer, int error, uint64_t now_usec)
{
    struct model_failures *failures = &layer->model->failures;
    const char *model = layer->model->definition->name;

    if (error == -ECANCELED)
        return;
    if (error == 0) {
        if (failures->n > 0)
            log_notice("%s can be read again; %" PRIu64 " loads had failed", model, failures->n);
        *failures = (struct model_failures){0};
        return;
    }
    failures->n++;
    if (error == failures->error && now_usec - failures->told_usec < LOAD_FAILURES_EVERY_USEC)
        return;
    failures->error = error;
    failures->told_usec = now_usec;
    log_warn("%s/%s cannot be read: %s; loads that failed until now: %" PRIu64, model,
             layer_definition(layer)->name, strerror(-error), failures->n);
}
