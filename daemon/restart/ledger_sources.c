/* Owns how a recovery ends, and how its models' files get their descriptors back. A stored
 * descriptor belongs to the file that it is open on, whatever its name in the store. */
#include "daemon/restart/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

struct ledger_recovery *ledger_recovery_free(struct ledger_recovery *recovery)
{
    if (!recovery)
        return NULL;
    for (size_t i = 0; i < recovery->n_models; i++) {
        definition_unref(recovery->models[i].definition);
        free(recovery->models[i].sources);
    }
    free(recovery->models);
    free(recovery->layers);
    free(recovery->extents);
    free(recovery);
    return NULL;
}

/* Takes `fd` on success only. Returns 0, or -ENOENT if no file of the model waits for it. */
static int give(struct ledger_recovered_model *model, const struct stat *status, int fd)
{
    for (uint32_t i = 0; i < model->definition->n_files; i++) {
        struct weight_file *file = &model->definition->files[i];
        if (file->fd >= 0 || model->sources[i].device != (uint64_t)status->st_dev ||
            model->sources[i].inode != (uint64_t)status->st_ino)
            continue;
        file->fd = fd;
        file->device = model->sources[i].device;
        file->inode = model->sources[i].inode;
        return 0;
    }
    return -ENOENT;
}

int ledger_recovery_take_source(struct ledger_recovery *recovery, int fd)
{
    _cleanup_(closep) int owned = fd;
    struct stat status;
    int flags = fcntl(owned, F_GETFL);
    if (flags < 0 || fstat(owned, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode) || (flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH))
        return -ENOENT;
    for (size_t i = 0; i < recovery->n_models; i++)
        if (give(&recovery->models[i], &status, owned) == 0) {
            (void)TAKE_FD(owned);
            return 0;
        }
    return -ENOENT;
}

/* Returns any model's descriptor of that file, or -1. */
static int find_source(const struct ledger_recovery *recovery, const struct ledger_source *source)
{
    for (size_t i = 0; i < recovery->n_models; i++) {
        const struct ledger_recovered_model *model = &recovery->models[i];
        for (uint32_t j = 0; j < model->definition->n_files; j++)
            if (model->definition->files[j].fd >= 0 && model->sources[j].device == source->device &&
                model->sources[j].inode == source->inode)
                return model->definition->files[j].fd;
    }
    return -1;
}

size_t ledger_recovery_share_sources(struct ledger_recovery *recovery)
{
    size_t n_missing = 0;
    for (size_t i = 0; i < recovery->n_models; i++) {
        struct ledger_recovered_model *model = &recovery->models[i];
        for (uint32_t j = 0; j < model->definition->n_files; j++) {
            struct weight_file *file = &model->definition->files[j];
            int fd = file->fd >= 0 ? -1 : find_source(recovery, &model->sources[j]);
            if (fd >= 0) {
                file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                file->device = model->sources[j].device;
                file->inode = model->sources[j].inode;
            }
            n_missing += file->fd < 0;
        }
    }
    return n_missing;
}
