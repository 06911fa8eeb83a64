/* Owns a source's texts and descriptors until they are used. */
#include "daemon/weights/model_source.h"

#include "common/passed_fd.h"

void model_source_done(struct model_source *source)
{
    passed_fd_closep(&source->fd);
    free(source->text);
    free(source->path);
    free(source->model_dir);
    free(source->name);
    for (size_t i = 0; i < source->n_weights; i++) {
        passed_fd_closep(&source->weights[i].fd);
        free(source->weights[i].path);
    }
    free(source->weights);
    memory_use_free(source->use);
    *source = MODEL_SOURCE_NONE;
}
