/* Owns the position in the round over all weight files. Each file keeps the result of its last
 * look. */
#include "daemon/methods/deleted_files.h"

uint64_t deleted_files_of(const struct model *model)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < model->definition->n_files; i++)
        n += model->definition->files[i].is_deleted;
    return n;
}

/* Moves to the next model when all files of this one were looked at. */
static void look_at_model(struct deleted_files *deleted, const struct model *model,
                          unsigned *looks_left, struct events *events)
{
    const struct definition *definition = model->definition;
    for (; deleted->file<definition->n_files && * looks_left> 0; deleted->file++, --*looks_left) {
        struct weight_file *file = &definition->files[deleted->file];
        if (file->is_deleted || !weight_file_deleted(file))
            continue;
        file->is_deleted = true;
        events_on_deleted_file(events, definition->name, file->path);
    }
    if (deleted->file >= definition->n_files) {
        deleted->file = 0;
        deleted->model++;
    }
}

void deleted_files_look(struct deleted_files *deleted, const struct scheduler *scheduler,
                        struct events *events)
{
    unsigned looks_left = DELETED_FILES_LOOKS;
    uint64_t place = 0;
    for (const struct model *model = scheduler_first_model(scheduler); model;
         model = model->next, place++) {
        if (place == deleted->model && looks_left > 0)
            look_at_model(deleted, model, &looks_left, events);
    }
    if (deleted->model >= place)
        *deleted = (struct deleted_files){0};
}
