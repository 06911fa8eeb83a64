/* Owns the table of domain errors, with the wire name, text and exit code of each. Every enum value
 * except ERROR_COUNT has a row. */
#include "common/error.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *wire_name;
    const char *text;
    enum exit_code exit_code;
} table[ERROR_COUNT] = {
    [ERROR_NONE] = {NULL, "no error", EXIT_DONE},
    [ERROR_OUT_OF_MEMORY] = {"io.edgemind.manager.OutOfMemory", "out of memory",
                             EXIT_OUT_OF_MEMORY},
    [ERROR_MUST_UNLOAD] = {"io.edgemind.manager.MustUnload", "other layers must be unloaded first",
                           EXIT_MUST_UNLOAD},
    [ERROR_BUSY] = {"io.edgemind.manager.Busy", "the memory is in use", EXIT_BUSY},
    [ERROR_NOT_FOUND] = {"io.edgemind.manager.NotFound", "not found", EXIT_NOT_FOUND},
    [ERROR_ALREADY_LOADED] = {"io.edgemind.manager.AlreadyLoaded", "already loaded",
                              EXIT_ALREADY_LOADED},
    [ERROR_INVALID_DEFINITION] = {"io.edgemind.manager.InvalidDefinition", "invalid definition",
                                  EXIT_INVALID_DEFINITION},
    [ERROR_SOURCE_CHANGED] = {"io.edgemind.manager.SourceChanged",
                              "the file changed after the model was loaded", EXIT_OTHER},
    [ERROR_LIMIT_EXCEEDED] = {"io.edgemind.manager.LimitExceeded", "limit exceeded", EXIT_OTHER},
    [ERROR_IO_FAILED] = {"io.edgemind.manager.IOFailed", "input or output failed", EXIT_OTHER},
    [ERROR_INTERFACE_NOT_FOUND] = {"org.varlink.service.InterfaceNotFound", "no such interface",
                                   EXIT_OTHER},
    [ERROR_METHOD_NOT_FOUND] = {"org.varlink.service.MethodNotFound", "no such method", EXIT_OTHER},
    [ERROR_METHOD_NOT_IMPLEMENTED] = {"org.varlink.service.MethodNotImplemented",
                                      "method not implemented", EXIT_OTHER},
    [ERROR_INVALID_PARAMETER] = {"org.varlink.service.InvalidParameter", "invalid parameter",
                                 EXIT_OTHER},
    [ERROR_PERMISSION_DENIED] = {"org.varlink.service.PermissionDenied", "permission denied",
                                 EXIT_PERMISSION_DENIED},
    [ERROR_EXPECTED_MORE] = {"org.varlink.service.ExpectedMore",
                             "the method must be called with 'more'", EXIT_OTHER},
};

const char *error_wire_name(enum error error)
{
    return table[error].wire_name;
}

enum error error_from_wire_name(const char *wire_name)
{
    for (enum error error = ERROR_NONE + 1; error < ERROR_COUNT; error++)
        if (strcmp(table[error].wire_name, wire_name) == 0)
            return error;
    return ERROR_COUNT;
}

const char *error_text(enum error error)
{
    return table[error].text;
}

enum exit_code error_exit_code(enum error error)
{
    return table[error].exit_code;
}
