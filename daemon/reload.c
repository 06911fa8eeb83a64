/* Owns the order of a reload: all of the new configuration is valid before any of it is applied. */
#include "daemon/reload.h"

int config_reload(struct config *config, int argc, char **argv, int (*apply)(void *context),
                  void *context)
{
    struct config next, previous = *config;
    enum config_action action;
    char why[CONFIG_WHY_MAX];
    int r = config_load(argc, argv, &next, &action, why);
    if (r < 0) {
        log_error("the old configuration stays: %s", why);
        return r;
    }

    bool reloadable;
    unsigned cursor = 0;
    for (const char *name; (name = config_next_difference(config, &next, &cursor, &reloadable));)
        if (!reloadable)
            log_warn("%s changed, but takes effect only at the next start", name);
    *config = next;
    r = apply(context);
    if (r < 0) {
        log_error("the old configuration stays");
        *config = previous;
    }
    config_done(r < 0 ? &next : &previous);
    return r;
}
