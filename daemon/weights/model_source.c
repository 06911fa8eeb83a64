/* Owns a source's texts and descriptors until they are used. */
#include "daemon/weights/model_source.h"

enum { CLOSED_AT_ONCE = 256 };

static void close_fds(const struct model_source *source)
{
    int fds[CLOSED_AT_ONCE];
    size_t n = 0;

    if (source->fd >= 0)
        fds[n++] = source->fd;
    for (size_t i = 0; i < source->n_weights; i++) {
        if (n == CLOSED_AT_ONCE) {
            passed_fds_close(fds, n, source->owner);
            n = 0;
        }
        if (source->weights[i].fd >= 0)
            fds[n++] = source->weights[i].fd;
    }
    passed_fds_close(fds, n, source->owner);
}

void model_source_done(struct model_source *source)
{
    close_fds(source);
    free(source->text);
    free(source->path);
    free(source->model_dir);
    free(source->name);
    for (size_t i = 0; i < source->n_weights; i++)
        free(source->weights[i].path);
    free(source->weights);
    memory_use_free(source->use);
    *source = MODEL_SOURCE_NONE;
}
