/* Invariant: the text has no control characters, even if names in it had some. */
#include "client/library/last_error.h"

#include "client/library/error_text.h"
#include "client/library/safe_text.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/json.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

void last_error_done(struct last_error *last_error)
{
    free(last_error->name);
    free(last_error->parameters);
    free(last_error->text);
    *last_error = (struct last_error){0};
}

/* The text may have names from the caller, and their origin is unknown. */
int last_error_set(struct last_error *last_error, int error, const char *format, ...)
{
    _cleanup_(freep) char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    last_error_done(last_error);
    last_error->error = error;
    last_error->text = text ? safe_text(text) : NULL;
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

int last_error_set_reply(struct last_error *last_error, const struct varlink_reply *reply,
                         const struct error_subject *subject)
{
    _cleanup_(freep) char *text = error_text_format(reply->error, reply->parameters, subject->file,
                                                    subject->model, subject->layer);

    last_error_done(last_error);
    last_error->error = errno_of(reply->error);
    last_error->name = strdup(reply->error);
    last_error->parameters = json_format(reply->parameters, JSON_COMPACT);
    last_error->text = text ? safe_text(text) : NULL;
    return last_error->error;
}

const char *last_error_text(const struct last_error *last_error)
{
    if (last_error->text)
        return last_error->text;
    return last_error->error == 0 ? "" : strerror(-last_error->error);
}
