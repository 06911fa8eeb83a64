/* org.varlink.service: the interface's text and its two methods. call.c and dispatch.c send its
 * errors, because a call of any interface can get them. Source: https://varlink.org/Service;
 * PermissionDenied and ExpectedMore as in systemd. */
#include "daemon/control/varlink_service.h"

#include <string.h>

static const char description[] =
    "# Every Varlink service has this interface. It describes the service, and names the errors\n"
    "# that a call of any interface can get.\n"
    "interface org.varlink.service\n"
    "\n"
    "# The vendor and version of the service, and the interfaces that it implements.\n"
    "method GetInfo() -> (\n"
    "    vendor: string,\n"
    "    product: string,\n"
    "    version: string,\n"
    "    url: string,\n"
    "    interfaces: []string\n"
    ")\n"
    "\n"
    "# The text of an interface's definition.\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n"
    "\n"
    "# The service has no such interface.\n"
    "error InterfaceNotFound(interface: string)\n"
    "\n"
    "# The interface has no such method.\n"
    "error MethodNotFound(method: string)\n"
    "\n"
    "# The interface has the method, but the service does not implement it, or not in the way "
    "that\n"
    "# the call asks for.\n"
    "error MethodNotImplemented(method: string)\n"
    "\n"
    "# This parameter is missing, unknown, of the wrong type or out of range.\n"
    "error InvalidParameter(parameter: string)\n"
    "\n"
    "# The caller may not call the method.\n"
    "error PermissionDenied()\n"
    "\n"
    "# The method has several replies and can only be called with `more`.\n"
    "error ExpectedMore()\n";

static const char name[] = "org.varlink.service";

struct info_reply {
    const char *vendor, *product, *version, *url;
    json_t *interfaces;
};

static const struct field info_fields[] = {
    {"vendor", FIELD_STRING, offsetof(struct info_reply, vendor)},
    {"product", FIELD_STRING, offsetof(struct info_reply, product)},
    {"version", FIELD_STRING, offsetof(struct info_reply, version)},
    {"url", FIELD_STRING, offsetof(struct info_reply, url)},
    {"interfaces", FIELD_JSON, offsetof(struct info_reply, interfaces)},
    {0},
};

/* GetInterfaceDescription's parameters and InterfaceNotFound's are the same. */
struct interface_parameters {
    const char *interface;
};

static const struct field interface_fields[] = {
    {"interface", FIELD_STRING, offsetof(struct interface_parameters, interface), FIELD_REQUIRED},
    {0},
};

struct description_reply {
    const char *description;
};

static const struct field description_fields[] = {
    {"description", FIELD_STRING, offsetof(struct description_reply, description)},
    {0},
};

/* NULL when out of memory. */
static json_t *list_interfaces(const struct varlink_service *service)
{
    json_t *names = json_array();

    int r = json_array_append_new(names, json_string(name));
    for (const struct interface *i = service->interfaces; r == 0 && i->name; i++)
        r = json_array_append_new(names, json_string(i->name));
    if (r < 0) {
        json_decref(names);
        return NULL;
    }
    return names;
}

static void get_info(struct call *call, void *context)
{
    const struct varlink_service *service = context;

    if (!call_decode(call, call_no_parameters, NULL))
        return;
    struct info_reply reply = {.vendor = service->info->vendor,
                               .product = service->info->product,
                               .version = service->info->version,
                               .url = service->info->url,
                               .interfaces = list_interfaces(service)};
    call_reply_fields(call, info_fields, &reply);
    json_decref(reply.interfaces);
}

static const char *find_description(const struct varlink_service *service, const char *wanted)
{
    if (strcmp(wanted, name) == 0)
        return description;
    for (const struct interface *i = service->interfaces; i->name; i++)
        if (strcmp(wanted, i->name) == 0)
            return i->description;
    return NULL;
}

static void get_interface_description(struct call *call, void *context)
{
    struct interface_parameters parameters = {0};

    if (!call_decode(call, interface_fields, &parameters))
        return;
    struct description_reply reply = {find_description(context, parameters.interface)};
    if (reply.description)
        call_reply_fields(call, description_fields, &reply);
    else
        call_error_fields(call, ERROR_INTERFACE_NOT_FOUND, interface_fields, &parameters);
}

static const struct method methods[] = {
    {"GetInfo", TIER_ANYONE, get_info, false},
    {"GetInterfaceDescription", TIER_ANYONE, get_interface_description, false},
    {0},
};

struct interface varlink_service_interface(struct varlink_service *service)
{
    return (struct interface){
        .name = name, .description = description, .methods = methods, .context = service};
}
