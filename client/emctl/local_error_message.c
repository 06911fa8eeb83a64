/* Messages for failures on this side of the socket: no daemon, a broken connection, no file. */
#include "client/emctl/error_message.h"

#include "common/cleanup.h"
#include "common/error.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>

static int no_permission(const char *socket_path)
{
    struct stat status;
    const struct group *group = stat(socket_path, &status) == 0 ? getgrgid(status.st_gid) : NULL;

    if (group && status.st_gid != 0 && status.st_mode & S_IWGRP)
        return error_message_print(
            EXIT_PERMISSION_DENIED,
            "no permission for the socket %s. Join group %s ('usermod -aG %s USER', "
            "then log in again), or run emctl as root.",
            socket_path, group->gr_name, group->gr_name);
    return error_message_print(EXIT_PERMISSION_DENIED,
                               "no permission for the socket %s. Run emctl as root.", socket_path);
}

int error_message_no_connection(const char *socket_path, int error)
{
    if (error == -EACCES || error == -EPERM)
        return no_permission(socket_path);
    if (error == -ETIMEDOUT)
        return error_message_print(
            EXIT_NO_DAEMON,
            "the daemon at %s does not accept connections. 'systemctl status edgemindd' "
            "shows its state.",
            socket_path);
    if (error == -ENAMETOOLONG)
        return error_message_print(EXIT_NO_DAEMON, "%s is too long for the path of a socket.",
                                   socket_path);
    return error_message_print(
        EXIT_NO_DAEMON,
        "no daemon at %s: %s. Start it with 'systemctl start edgemindd', or name "
        "its socket with --socket.",
        socket_path, strerror(-error));
}

int error_message_broken_connection(const char *socket_path, int error)
{
    const char *what = socket_path ? "the daemon" : "the simulated daemon";

    switch (error) {
    case -ECONNRESET:
    case -EPIPE:
        return error_message_print(EXIT_NO_DAEMON, "%s hung up before it answered.%s", what,
                                   socket_path ? " 'journalctl -u edgemindd' may say why." : "");
    case -ETIMEDOUT:
        return error_message_print(EXIT_NO_DAEMON, "%s does not answer.%s", what,
                                   socket_path ? " 'systemctl status edgemindd' shows its state."
                                               : "");
    case -EBADMSG:
    case -EMSGSIZE:
        return error_message_print(EXIT_OTHER, "%s's answer is no Varlink reply.%s", what,
                                   socket_path ? " Is another service behind the socket?" : "");
    default:
        return error_message_print(EXIT_OTHER, "the connection to %s failed: %s.", what,
                                   strerror(-error));
    }
}

/* `before` introduces the file. */
static int no_file(const char *before, const char *path, int error)
{
    switch (error) {
    case -ENOENT:
        return error_message_print(EXIT_OTHER, "%sthere is no file %s. Is the download complete?",
                                   before, path);
    case -EISDIR:
        return error_message_print(EXIT_OTHER, "%s%s is a directory.%s", before, path,
                                   *before ? "" : " Name a file in it.");
    case -EINVAL:
        return error_message_print(EXIT_OTHER, "%s%s is no regular file.", before, path);
    case -EACCES:
        return error_message_print(
            EXIT_OTHER,
            "%sno permission to read %s. emctl opens files itself: run it as a "
            "user who may read this file.",
            before, path);
    case -E2BIG:
        return error_message_print(EXIT_OTHER, "%s%s has more parts than a call can carry.", before,
                                   path);
    case -EMFILE:
        return error_message_print(EXIT_OTHER,
                                   "%scannot open %s: %s. Raise the limit with 'ulimit -n'.",
                                   before, path, strerror(EMFILE));
    default:
        return error_message_print(EXIT_OTHER, "%scannot read %s: %s.", before, path,
                                   strerror(-error));
    }
}

int error_message_no_definition(const char *path, int error)
{
    if (error == -ENOMEM)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    if (error == -ENOENT)
        return error_message_print(EXIT_OTHER, "there is no such file; emctl looked for it at: %s.",
                                   path);
    return no_file("", path, error);
}

int error_message_no_model_file(const char *path, const struct model_files_failure *failure,
                                int error)
{
    _cleanup_(freep) char *before = NULL;

    if (error != -ENOMEM && failure->path && !failure->named)
        return no_file("", failure->path, error);
    if (error == -ENOMEM || !failure->path ||
        asprintf(&before, "%s names the weight file %s, but ", path, failure->named) < 0) {
        before = NULL;
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    }
    return no_file(before, failure->path, error);
}

int error_message_no_folder(const char *folder, const char *list, int error)
{
    if (error == -ENOENT)
        return error_message_print(EXIT_OTHER,
                                   "the folder %s has no weights in it: no index, no .safetensors "
                                   "and no .gguf file. Is the download complete?",
                                   folder);
    return error_message_print(EXIT_OTHER,
                               "the folder %s has several models in it: %s. Name one of the files.",
                               folder, list);
}
