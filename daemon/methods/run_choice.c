/* Owns the choices in progress. Each is a job of one step, and is freed when it is done. */
#include "daemon/methods/run_choice.h"

struct run_choice {
    struct job job;
    LIST_ENTRY(run_choice) entry;
    struct run_choices *choices;
    struct definition *definition; /* identifies the model while it is registered */
    struct planner_task *task;
    void (*chosen)(void *context); /* NULL: no connection waits */
    void *context;
};

void run_choices_init(struct run_choices *choices, struct scheduler *scheduler,
                      struct workers *workers)
{
    *choices = (struct run_choices){.scheduler = scheduler, .workers = workers};
    LIST_INIT(&choices->list);
}

static int work(struct job *job, uint64_t index)
{
    (void)index;
    return planner_work(((struct run_choice *)job)->task);
}

static struct model *find_model(const struct run_choice *choice)
{
    struct model *model = scheduler_first_model(choice->choices->scheduler);
    while (model && model->definition != choice->definition)
        model = model->next;
    return model;
}

static void done(struct job *job, int error)
{
    struct run_choice *choice = (struct run_choice *)job;
    struct model *model = find_model(choice);
    if (error == 0 && model)
        planner_end(choice->choices->scheduler, model, choice->task);
    LIST_REMOVE(choice, entry);
    if (choice->chosen)
        choice->chosen(choice->context);
    planner_task_free(choice->task);
    definition_unref(choice->definition);
    free(choice);
}

struct run_choice *run_choice_begin(struct run_choices *choices, const struct model *model,
                                    const struct rehearsal_rates *rates,
                                    void (*chosen)(void *context), void *context)
{
    struct planner_task *task;
    if (planner_begin(choices->scheduler, model, rates, &task) < 0 || !task)
        return NULL;
    struct run_choice *choice = calloc(1, sizeof *choice);
    if (!choice) {
        planner_task_free(task);
        return NULL;
    }
    *choice = (struct run_choice){
        .job = {.n_steps = 1, .step = work, .done = done},
        .choices = choices,
        .definition = definition_ref(model->definition),
        .task = task,
        .chosen = chosen,
        .context = context,
    };
    LIST_INSERT_HEAD(&choices->list, choice, entry);
    workers_submit(choices->workers, &choice->job);
    return choice;
}

void run_choice_renew(struct run_choices *choices, const struct model *model,
                      const struct rehearsal_rates *rates)
{
    const struct run_choice *choice;
    LIST_FOREACH (choice, &choices->list, entry)
        if (choice->definition == model->definition)
            return;
    run_choice_begin(choices, model, rates, NULL, NULL);
}

void run_choice_forget(struct run_choice *choice)
{
    choice->chosen = NULL;
}
