/* Finds the method that a call names, and refuses calls that must not reach it. */
#include "daemon/control/dispatch.h"

#include "common/clock.h"
#include "daemon/control/call.h"

#include <errno.h>
#include <string.h>

/* The interface whose name is the first `n_bytes` of `name`, or NULL. */
static const struct interface *find_interface(const struct connection_host *host, const char *name,
                                              size_t n_bytes)
{
    for (const struct interface *i = host->interfaces; i->name; i++)
        if (strlen(i->name) == n_bytes && memcmp(i->name, name, n_bytes) == 0)
            return i;
    if (strlen(host->service.name) == n_bytes && memcmp(host->service.name, name, n_bytes) == 0)
        return &host->service;
    return NULL;
}

static const struct method *find_method(const struct interface *interface, const char *name)
{
    for (const struct method *method = interface->methods; method->name; method++)
        if (strcmp(method->name, name) == 0)
            return method;
    return NULL;
}

void dispatch(struct call *call, const struct connection_host *host, bool fds_lost)
{
    const char *name = call->message.method;
    const char *dot = strrchr(name, '.');
    size_t n_bytes = dot ? (size_t)(dot - name) : strlen(name);

    call->is_deferred = false;
    call->begun_usec = clock_monotonic_usec();
    const struct interface *interface = dot ? find_interface(host, name, n_bytes) : NULL;

    if (!interface) {
        call_error(call, ERROR_INTERFACE_NOT_FOUND,
                   json_pack("{s:s%}", "interface", name, n_bytes));
        return;
    }
    const struct method *method = find_method(interface, dot + 1);
    if (!method)
        call_error_name(call, ERROR_METHOD_NOT_FOUND, "method", name);
    else if (call->connection->peer.tier < method->tier)
        call_error(call, ERROR_PERMISSION_DENIED, NULL);
    else if (call->message.upgrade)
        call_error_name(call, ERROR_METHOD_NOT_IMPLEMENTED, "method", name);
    else if (fds_lost)
        call_io_failed(call, "receive descriptors", -EMFILE);
    else if (call->frame.n_fds > 0 && !method->takes_fds)
        call_invalid_parameter(call, "fileDescriptors");
    else {
        call->method = method;
        method->handle(call, interface->context);
        call->is_deferred = true; /* if it is still open */
    }
}
