/* One run of emctl: the connection to the daemon, what is shown of its replies, and the message
 * and exit code when something fails. Functions that return int return an exit code, and have said
 * on standard error why it is not EXIT_DONE. */
#pragma once

#include "client/emctl/arguments.h"
#include "client/emctl/output.h"
#include "client/emctl/progress.h"
#include "client/library/model_files.h"
#include "client/library/varlink.h"
#include "common/error.h"

enum { EXIT_INTERRUPTED = 130 }; /* as shells report SIGINT */

struct session {
    const struct arguments *arguments;
    struct output output;
    struct subject subject;
    struct varlink *varlink;  /* NULL before the first call */
    char *socket_path;        /* NULL: the connection was adopted */
    char *shown_path;         /* what subject.file is */
    char *model_name;         /* what subject.model is, if the command line names the model */
    struct progress progress; /* of the call that is on */
    /* An error that the verb deals with: session_receive returns its exit code and the reply, and
     * no message is printed. ERROR_NONE: none. */
    enum error expected;
};

void session_init(struct session *session, const struct arguments *arguments);

/* Ends the run: disconnects, writes what is pending. `status` if that works. */
int session_end(struct session *session, int status);

/* Connects if that has not been done; the first call does it by itself. */
int session_connect(struct session *session);
/* 0 or a negative errno, and says nothing. */
int session_try_connect(struct session *session);
/* Takes a connected socket, also on failure. */
int session_adopt(struct session *session, int fd);
void session_disconnect(struct session *session);

/* Finds and opens the files of the model that the command line asks for; from then on they are the
 * subject. With `optional` it is no failure if there is no file of that name: `ret` is empty then.
 */
int session_open_model(struct session *session, const char *name, bool optional,
                       struct model_files *ret);

/* The model that the command line names, as the subject, and as the daemon knows it: what stands in
 * for bytes that a name cannot hold is put there as it was when the model was loaded. */
const char *session_name_model(struct session *session, const char *operand);

/* Sends `method` of io.edgemind.manager (or a full name with a dot) with `parameters` (taken; NULL
 * says that one of them was no UTF-8), and a model's files unless that is NULL or empty. */
int session_send(struct session *session, const char *method, json_t *parameters, bool more,
                 const struct model_files *files);

/* How long replies are waited for: a while, or for as long as it takes. `interrupt_fd` (borrowed,
 * -1 for none) ends the wait with EXIT_INTERRUPTED when it is readable. Connects. */
int session_wait_forever(struct session *session, int interrupt_fd);

/* The next reply, owned by the caller. An error reply is explained and is not EXIT_DONE. Strings
 * are safe to show unless output is JSON; the raw variant leaves them as they came. */
int session_receive(struct session *session, struct varlink_reply *ret);
int session_receive_raw(struct session *session, struct varlink_reply *ret);

int session_show(struct session *session, output_function show, json_t *parameters);

/* The usual verb: one call, one reply, shown. */
int session_run(struct session *session, const char *method, json_t *parameters,
                output_function show);

/* The reply is not what the interface describes. */
int session_bad_reply(void);
