/* Invariant: the text holds nothing that a terminal would take for an instruction, whoever wrote
 * the names in it. */
#include "client/library/last_error.h"

#include "client/library/error_text.h"
#include "client/library/safe_text.h"
#include "common/cleanup.h"
#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

void failure_done(struct failure *failure)
{
    free(failure->name);
    free(failure->parameters);
    free(failure->text);
    *failure = (struct failure){0};
}

/* Names in the text may come from the caller, who has them from anywhere. */
int failure_set(struct failure *failure, int error, const char *format, ...)
{
    _cleanup_(freep) char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    failure_done(failure);
    failure->error = error;
    failure->text = text ? safe_text(text) : NULL;
    return error;
}

static int errno_of(const char *wire_name)
{
    switch (error_from_wire_name(wire_name)) {
    case ERROR_OUT_OF_MEMORY:
        return -ENOMEM;
    case ERROR_MUST_UNLOAD:
        return -ENOSPC;
    case ERROR_BUSY:
        return -EBUSY;
    case ERROR_NOT_FOUND:
        return -ENOENT;
    case ERROR_ALREADY_LOADED:
        return -EEXIST;
    case ERROR_INVALID_DEFINITION:
    case ERROR_INVALID_PARAMETER:
        return -EINVAL;
    case ERROR_SOURCE_CHANGED:
        return -ESTALE;
    case ERROR_LIMIT_EXCEEDED:
        return -EDQUOT;
    case ERROR_IO_FAILED:
        return -EIO;
    case ERROR_PERMISSION_DENIED:
        return -EPERM;
    default:
        return -EPROTO;
    }
}

int failure_refused(struct failure *failure, const struct varlink_reply *reply,
                    const struct failure_subject *subject)
{
    _cleanup_(freep) char *text = refusal_text(reply->error, reply->parameters, subject->file,
                                               subject->model, subject->layer);

    failure_done(failure);
    failure->error = errno_of(reply->error);
    failure->name = strdup(reply->error);
    failure->parameters = json_dumps(reply->parameters, JSON_COMPACT);
    failure->text = text ? safe_text(text) : NULL;
    return failure->error;
}

const char *failure_text(const struct failure *failure)
{
    if (failure->text)
        return failure->text;
    return failure->error == 0 ? "" : strerror(-failure->error);
}
