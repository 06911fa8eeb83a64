/* The errors of the domain: one enum, and one table with wire name, emctl's exit code and text.
 * Failures of system calls are negative errnos and are not in the table. */
#pragma once

enum error {
    ERROR_NONE = 0,
    /* io.edgemind.manager */
    ERROR_OUT_OF_MEMORY,
    ERROR_MUST_UNLOAD,
    ERROR_BUSY,
    ERROR_NOT_FOUND,
    ERROR_ALREADY_LOADED,
    ERROR_INVALID_DEFINITION,
    ERROR_SOURCE_CHANGED,
    ERROR_LIMIT_EXCEEDED,
    ERROR_IO_FAILED,
    /* org.varlink.service */
    ERROR_INTERFACE_NOT_FOUND,
    ERROR_METHOD_NOT_FOUND,
    ERROR_METHOD_NOT_IMPLEMENTED,
    ERROR_INVALID_PARAMETER,
    ERROR_PERMISSION_DENIED,
    ERROR_EXPECTED_MORE,
    ERROR_COUNT
};

/* emctl's exit codes. Scripts rely on the numbers. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_OTHER = 1,
    EXIT_USAGE = 2,
    EXIT_NO_DAEMON = 3,
    EXIT_OUT_OF_MEMORY = 4,
    EXIT_MUST_UNLOAD = 5,
    EXIT_BUSY = 6,
    EXIT_NOT_FOUND = 7,
    EXIT_INVALID_DEFINITION = 8,
    EXIT_PERMISSION_DENIED = 9,
    EXIT_ALREADY_LOADED = 10
};

/* "io.edgemind.manager.OutOfMemory"; NULL for ERROR_NONE. Static storage. */
const char *error_wire_name(enum error error);

/* ERROR_COUNT if no error has that wire name. */
enum error error_from_wire_name(const char *wire_name);

/* A short English text without figures: "out of memory". Static storage. */
const char *error_text(enum error error);

enum exit_code error_exit_code(enum error error);
