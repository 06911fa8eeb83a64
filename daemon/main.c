/* edgemindd: parses the options, then runs the daemon. */
#include "common/json_memory.h"
#include "common/page.h"
#include "common/standard_fds.h"
#include "daemon/daemon.h"
#include "daemon/dropin.h"
#include "daemon/system/event_memory.h"
#include "daemon/system/service_manager.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct config config;
    enum config_action action;
    char why[CONFIG_WHY_MAX];

    int r = standard_fds_fill();
    if (r < 0)
        return EXIT_NEVER;
    /* All threads share one heap, because a heap for each would add to the overhead. */
    mallopt(M_ARENA_MAX, 1);
    /* A freed block joins its neighbours at once. Otherwise a later malloc joins all of them
     * together, however many replies were freed meanwhile. */
    mallopt(M_MXFAST, 0);
    json_memory_install();
    event_memory_install();
    signal(SIGPIPE, SIG_IGN);
    service_manager_log_to_journal();

    r = config_load(argc, argv, &config, &action, why);
    if (r < 0) {
        log_error("%s", why);
        return EXIT_NEVER;
    }
    config_warn(&config);

    int status = 0;
    switch (action) {
    case CONFIG_HELP:
        config_print_help(stdout);
        break;
    case CONFIG_VERSION:
        printf("edgemindd %s\n", EDGEMIND_VERSION);
        break;
    case CONFIG_CHECKED:
        break;
    case CONFIG_DROPIN:
        if (dropin_print(&config, system_page_bytes(), stdout) < 0) {
            log_error("capacity and overhead-limit together are larger than any limit can be");
            status = EXIT_NEVER;
        }
        break;
    case CONFIG_RUN:
        log_set_level(config.log_level);
        status = daemon_run(&config, argc, argv);
        break;
    }
    config_done(&config);
    return status;
}
