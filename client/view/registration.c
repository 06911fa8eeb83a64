/* The model gets the same name as with load-model. Nothing is evicted for it; layers that do not
 * fit are loaded when the engine reads them. */
#include "client/view/registration.h"

#include "client/library/error_text.h"
#include "client/library/model_files.h"
#include "client/library/safe_text.h"
#include "client/view/daemon_link.h"
#include "client/view/notice.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/fd_path.h"
#include "common/formats/tensor_format.h"
#include "proto/interface.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static bool has_weights(int fd)
{
    struct stat status;
    enum tensor_format format;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return false;
    struct byte_source bytes = {byte_source_pread, &fd, (uint64_t)status.st_size};
    return tensor_format_detect(&bytes, &format) == 0 && format != TENSOR_FORMAT_NONE;
}

/* Opens the file, and the other files of the same model. */
static int open_files(int fd, struct model_files *ret)
{
    _cleanup_(model_files_failure_done) struct model_files_failure failure = {0};
    char path[PATH_MAX];
    int r = fd_path(fd, path);

    if (r < 0)
        return r;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return -errno;
    return model_files_open(path, own, false, ret, &failure);
}

static int explain(int fd, const struct varlink_reply *reply, const char *model)
{
    enum error error = error_from_wire_name(reply->error);
    _cleanup_(freep) char *said = NULL, *text = NULL;

    switch (error) {
    case ERROR_MUST_UNLOAD: /* it is registered, and as many layers as fit are loaded */
    case ERROR_BUSY:
    case ERROR_ALREADY_LOADED: /* registered meanwhile, if it is the same file */
        return 0;
    case ERROR_PERMISSION_DENIED:
        return -EACCES;
    default:
        said = error_text_format(reply->error, reply->parameters, NULL, model, NULL);
        text = said ? safe_text(said) : NULL;
        notice_about(fd, "cannot be registered and is mapped directly: %s",
                     text ? text : reply->error);
        return -EIO;
    }
}

int registration_try(int fd)
{
    const char *automatic = getenv("EDGEMIND_VIEW_AUTO");
    _cleanup_(model_files_done) struct model_files files = {0};
    _cleanup_(varlink_freep) struct varlink *varlink = NULL;
    _cleanup_(varlink_reply_done) struct varlink_reply reply = {0};

    if (!automatic || !*automatic || !has_weights(fd))
        return -ENOENT;
    int r = open_files(fd, &files);
    if (r == 0)
        r = daemon_link_connect(&varlink);
    if (r < 0)
        return r;
    json_t *parameters = json_pack("{s:s, s:I}", "onFull", "ask", "unitBytes",
                                   (json_int_t)model_files_unit_bytes(&files));
    varlink_set_timeout(varlink, VARLINK_FOREVER);
    r = parameters ? model_files_describe(&files, parameters) : -ENOMEM;
    if (r == 0)
        r = varlink_call(varlink, MANAGER_INTERFACE ".LoadModel", parameters, files.fds,
                         files.n_fds, &reply);
    json_decref(parameters);
    if (r < 0)
        return r == -ENOMEM ? r : -ENOTCONN;
    return reply.error ? explain(fd, &reply, files.name) : 0;
}
