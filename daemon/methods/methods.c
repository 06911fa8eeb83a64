/* The table of methods with the tier that may call each. */
#include "daemon/methods/methods.h"

const struct method manager_methods[] = {
    {"LoadModel", TIER_ADMIN, method_load_model, .takes_fds = true},
    {"LoadLayer", TIER_ADMIN, method_load_layer},
    {"UnloadLayer", TIER_ADMIN, method_unload_layer},
    {"UnloadModel", TIER_ADMIN, method_unload_model},
    {"Reset", TIER_ADMIN, method_reset},
    {"Plan", TIER_MEMBER, method_plan, .takes_fds = true},
    {"Acquire", TIER_MEMBER, method_acquire},
    {"Release", TIER_MEMBER, method_release},
    {"BeginRun", TIER_MEMBER, method_begin_run},
    {"Next", TIER_MEMBER, method_next},
    {"EndRun", TIER_MEMBER, method_end_run},
    {"FindModel", TIER_MEMBER, method_find_model, .takes_fds = true},
    {"BeginView", TIER_MEMBER, method_begin_view},
    {"UpdateView", TIER_MEMBER, method_update_view},
    {"EndView", TIER_MEMBER, method_end_view},
    {"Views", TIER_MEMBER, method_views},
    {"List", TIER_MEMBER, method_list},
    {"Usage", TIER_MEMBER, method_usage},
    {"Stats", TIER_MEMBER, method_stats},
    {"History", TIER_MEMBER, method_history},
    {"Why", TIER_MEMBER, method_why},
    {"Watch", TIER_MEMBER, method_watch},
    {"SetPolicy", TIER_ADMIN, method_set_policy},
    {0},
};
