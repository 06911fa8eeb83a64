/* Messages for failures. Each function writes one message to standard error, with the figures and
 * with advice, and returns the exit code. */
#pragma once

#include "client/emctl/output.h"
#include "client/library/model_files.h"

#include <stdarg.h>

/* Writes text whose parts may come from anywhere: what is not safe to show is escaped. */
void error_message_vprint(const char *format, va_list arguments)
    __attribute__((format(printf, 1, 0)));

/* Writes "emctl: " and the line; returns `status`. */
int error_message_print(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An error reply. The strings in `parameters` must be safe to show; `wire_name` need not be. */
int error_message_for_reply(const char *wire_name, json_t *parameters,
                            const struct subject *subject);

/* A plan whose load would always be refused. For any other plan, returns EXIT_DONE and writes
 * nothing. */
int error_message_for_plan(json_t *parameters);

/* varlink_connect to `socket_path` failed with `error` (negative). */
int error_message_no_connection(const char *socket_path, int error);

/* An open connection failed. `socket_path` is NULL for the connection to a simulation. */
int error_message_broken_connection(const char *socket_path, int error);

/* definition_file_open failed with `error` (negative) at `path`. For -ENOENT `path` is the list of
 * all paths. */
int error_message_no_definition(const char *path, int error);

/* model_folder_open failed with `error`: -ENOENT, or -EMLINK and `list` has the models in the
 * folder. */
int error_message_no_folder(const char *folder, const char *list, int error);

/* model_files_open failed with `error` (negative). `path` is the file that names the other files.
 */
int error_message_no_model_file(const char *path, const struct model_files_failure *failure,
                                int error);
