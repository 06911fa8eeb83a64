/* One run of emctl: the connection to the daemon, the output of its replies, and the message and
 * exit code when something fails. Functions that return int return an exit code. If it is not
 * EXIT_DONE, they have written the reason to standard error. */
#pragma once

#include "client/emctl/arguments.h"
#include "client/emctl/output.h"
#include "client/emctl/progress.h"
#include "client/emctl/remote.h"
#include "client/library/model_files.h"
#include "client/library/varlink.h"
#include "common/error.h"

enum { EXIT_INTERRUPTED = 130 }; /* as shells report SIGINT */

struct session {
    const struct arguments *arguments;
    struct output output;
    struct subject subject;
    struct varlink *varlink;  /* NULL before the first call */
    char *socket_path;        /* NULL: the connection was adopted, or is to another host */
    struct remote remote;     /* of --host */
    bool unattended;          /* ssh may neither ask nor write anything */
    char *shown_path;         /* owns subject.file */
    char *model_name;         /* owns subject.model if the command line names the model */
    struct progress progress; /* of the current call */
    /* Errors that the verb handles itself, each as 1 << enum error: session_receive returns their
     * exit code and the reply, and prints no message. */
    uint32_t expected;
    uint64_t json_failures; /* jansson's failed allocations that have been reported */
};

void session_init(struct session *session, const struct arguments *arguments);

/* Ends the run: disconnects and writes pending output. Returns `status` if that succeeds. */
int session_end(struct session *session, int status);

/* Connects unless the session is connected. The first call also does this. */
int session_connect(struct session *session);
/* 0 or a negative errno; prints no message. */
int session_try_connect(struct session *session);
/* Takes ownership of a connected socket, also on failure. */
int session_adopt(struct session *session, int fd);
void session_disconnect(struct session *session);

/* Finds and opens the files of the model that the command line names, and makes them the subject.
 * `called` is the model's name; NULL: the default. With `optional` a missing file is not a failure:
 * then `ret` is empty. */
int session_open_model(struct session *session, const char *name, const char *called, bool optional,
                       struct model_files *ret);

/* Makes the model that the command line names the subject. Returns the name that the daemon knows:
 * bytes that a name cannot hold are escaped as they were when the model was loaded. */
const char *session_name_model(struct session *session, const char *operand);

/* Sends `method` of io.edgemind.manager, or a full name with a dot. Takes ownership of
 * `parameters`; NULL means that one of them was not UTF-8. Also sends a model's files unless that
 * is NULL or empty. */
int session_send(struct session *session, const char *method, json_t *parameters, bool more,
                 const struct model_files *files);
int session_send_fds(struct session *session, const char *method, json_t *parameters, bool more,
                     const int *fds, size_t n_fds);

/* Connects, and waits for replies without a time limit. `interrupt_fd` (borrowed, -1 for none) ends
 * the wait with EXIT_INTERRUPTED when it is readable. */
int session_wait_forever(struct session *session, int interrupt_fd);

/* Receives the next reply, which the caller owns. For an error reply, prints a message and returns
 * another code than EXIT_DONE. Strings are safe to show unless the output is JSON; the raw variant
 * does not change them. */
int session_receive(struct session *session, struct varlink_reply *ret);
int session_receive_raw(struct session *session, struct varlink_reply *ret);

int session_show(struct session *session, output_function show, json_t *parameters);

/* Runs a simple verb: sends one call, receives one reply, shows it. */
int session_run(struct session *session, const char *method, json_t *parameters,
                output_function show);

/* Reports a reply that the interface does not describe. */
int session_bad_reply(void);
