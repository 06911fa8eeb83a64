/* What went wrong, in words: one message on standard error that gives the figures and what would
 * help, and the exit code. */
#pragma once

#include "client/emctl/output.h"
#include "client/library/model_files.h"

/* "emctl: " and the line; returns `status`. */
int error_message_print(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An error reply; its strings are safe to show. `wire_name` need not be. */
int error_message_for_reply(const char *wire_name, json_t *parameters,
                            const struct subject *subject);

/* A plan whose load would be refused for good; EXIT_DONE, and says nothing, for any other. */
int error_message_for_plan(json_t *parameters);

/* varlink_connect to `socket_path` failed with `error` (negative). */
int error_message_no_connection(const char *socket_path, int error);

/* A connection failed in use. `socket_path` is NULL for that of a simulation. */
int error_message_broken_connection(const char *socket_path, int error);

/* definition_file_open failed with `error` (negative) at `path`, or for -ENOENT at all of them. */
int error_message_no_definition(const char *path, int error);

/* model_folder_open failed with `error`: -ENOENT, or -EMLINK with a list of what is in the folder.
 */
int error_message_no_folder(const char *folder, const char *list, int error);

/* model_files_open failed with `error` (negative); `path` is of the file that names others. */
int error_message_no_model_file(const char *path, const struct model_files_failure *failure,
                                int error);
