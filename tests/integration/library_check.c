/* Runs commands with libedgemind. Each line of the input is a command. Each answer is a line: "ok"
 * and the results, or ERRNO, wire name or "-", and text. library_program.py runs this program,
 * which is linked as users link the library. Layers and runs have slots, numbered from 0. */
#include "client/library/edgemind.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 16, WORDS_MAX = 5 };

static struct slot {
    struct edgemind_layer *layer;
    struct edgemind_run *run;
    const struct edgemind_layer *shown; /* the layer, or the run's present layer */
    pthread_t watcher;
    atomic_bool is_watched;
    atomic_ulong n_rounds, n_wrong; /* of the watcher */
} slots[SLOTS];

static struct edgemind *em;

/* The slot with the number in a word. */
static struct slot *slot_of(const char *word)
{
    return &slots[(unsigned long)atol(word) % SLOTS];
}

static uint64_t number(const char *word)
{
    return word ? strtoull(word, NULL, 10) : 0;
}

/* Each function gets the words after the command, with NULL after the last. If it returns 1, it has
 * printed the answer itself; otherwise the answer is the result of the library. */

static int do_connect(char **words)
{
    return edgemind_connect(em, words[0]);
}

static int do_reconnect(char **words)
{
    (void)words;
    return edgemind_reconnect(em);
}

static int do_check(char **words)
{
    (void)words;
    return edgemind_check(em);
}

/* In a forked child: prints the result of each use of the parent's handles, and then the first byte
 * of the layer in a slot. With "stay" the child keeps running, and its process id comes last. */
static int do_fork(char **words)
{
    struct slot *slot = slot_of(words[0]);
    const unsigned char *bytes = edgemind_layer_data(slot->shown);
    bool stays = words[1] != NULL;
    pid_t pid = fork();

    if (pid == 0) {
        struct edgemind_layer *layer = NULL;
        printf("ok %d", edgemind_check(em));
        printf(" %d", edgemind_acquire(em, "m", "l", 0, &layer));
        printf(" %d", edgemind_reconnect(em));
        printf(" %d", edgemind_connect(em, NULL));
        printf(" %d", edgemind_load(em, "x", NULL, NULL, NULL));
        printf(" %d", bytes[0]);
        printf(" %d", edgemind_release(slot->layer));
        edgemind_free(em);
        printf(" %d\n", (int)getpid());
        fflush(stdout);
        while (stays)
            pause();
        _exit(0);
    }
    if (!stays)
        waitpid(pid, NULL, 0);
    return pid < 0 ? -errno : 1;
}

static int do_timeout(char **words)
{
    edgemind_set_timeout(em, number(words[0]));
    return 0;
}

static int do_free(char **words)
{
    (void)words;
    edgemind_free(em);
    em = edgemind_new();
    return 0;
}

static int do_load(char **words)
{
    char model[EDGEMIND_NAME_MAX + 1];
    int r = edgemind_load(em, words[0], words[1], NULL, model);
    if (r < 0)
        return r;
    printf("ok %s\n", model);
    return 1;
}

static int show(const struct edgemind_layer *layer)
{
    printf("ok %s %zu %" PRIuPTR "\n", edgemind_layer_name(layer), edgemind_layer_bytes(layer),
           (uintptr_t)edgemind_layer_data(layer));
    return 1;
}

static int do_acquire(char **words)
{
    struct slot *slot = slot_of(words[0]);
    int r = edgemind_acquire(em, words[1], words[2], number(words[3]), &slot->layer);
    slot->shown = slot->layer;
    return r < 0 ? r : show(slot->shown);
}

/* The units' numbers are one word: "1,5". */
static int do_units(char **words)
{
    struct slot *slot = slot_of(words[0]);
    uint32_t units[SLOTS];
    size_t n = 0;

    for (const char *at = words[3]; at && n < SLOTS;
         at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        units[n++] = (uint32_t)strtoul(at, NULL, 10);
    int r = edgemind_acquire_units(em, words[1], words[2], units, n, 0, &slot->layer);
    slot->shown = slot->layer;
    return r < 0 ? r : show(slot->shown);
}

static int do_show(char **words)
{
    return show(slot_of(words[0])->shown);
}

static int do_release(char **words)
{
    return edgemind_release(slot_of(words[0])->layer);
}

static int do_tensors(char **words)
{
    const struct edgemind_layer *layer = slot_of(words[0])->shown;
    struct edgemind_tensor tensor, found;

    printf("ok");
    for (size_t i = 0; edgemind_layer_tensor(layer, i, &tensor) == 0; i++) {
        if (edgemind_layer_find_tensor(layer, tensor.name, &found) < 0 || found.data != tensor.data)
            return -ENOENT;
        printf(" %s %s %td %zu ", tensor.name, tensor.dtype,
               (const char *)tensor.data - (const char *)edgemind_layer_data(layer), tensor.bytes);
        for (size_t d = 0; d < tensor.n_dimensions; d++)
            printf("%s%" PRIu64, d > 0 ? "," : "", tensor.shape[d]);
    }
    printf("\n");
    return 1;
}

/* Copies the layer's bytes to a file; of units, those of their tensors. */
static int do_save(char **words)
{
    const struct edgemind_layer *layer = slot_of(words[0])->shown;
    struct edgemind_tensor tensor = {.data = edgemind_layer_data(layer),
                                     .bytes = edgemind_layer_bytes(layer)};
    bool is_whole = tensor.data != NULL;
    FILE *file = fopen(words[1], "we");
    int r = file ? 0 : -EIO;

    for (size_t i = 0;
         r == 0 && (is_whole ? i == 0 : edgemind_layer_tensor(layer, i, &tensor) == 0); i++)
        r = fwrite(tensor.data, 1, tensor.bytes, file) == tensor.bytes ? 0 : -EIO;
    return file && fclose(file) == 0 ? r : -EIO;
}

/* Reads a byte of every page, and prints how many page faults this took. */
static int do_touch(char **words)
{
    const struct edgemind_layer *layer = slot_of(words[0])->shown;
    const volatile char *bytes = edgemind_layer_data(layer);
    struct rusage before, after;
    long page = sysconf(_SC_PAGESIZE);

    getrusage(RUSAGE_SELF, &before);
    for (size_t i = 0; i < edgemind_layer_bytes(layer); i += (size_t)page)
        (void)bytes[i];
    getrusage(RUSAGE_SELF, &after);
    printf("ok %ld\n", after.ru_minflt - before.ru_minflt);
    return 1;
}

static uint64_t sum(const struct edgemind_layer *layer)
{
    const volatile unsigned char *bytes = edgemind_layer_data(layer);
    uint64_t total = 0;

    for (size_t i = 0; i < edgemind_layer_bytes(layer); i++)
        total = total * 31 + bytes[i];
    return total;
}

static void *watch(void *argument)
{
    struct slot *slot = argument;
    uint64_t first = sum(slot->shown);

    while (atomic_load(&slot->is_watched)) {
        if (sum(slot->shown) != first)
            atomic_fetch_add(&slot->n_wrong, 1);
        atomic_fetch_add(&slot->n_rounds, 1);
    }
    return NULL;
}

/* A thread reads the layer's bytes over and over. Answers once it has seen them. */
static int do_watch(char **words)
{
    struct slot *slot = slot_of(words[0]);

    atomic_store(&slot->n_rounds, 0);
    atomic_store(&slot->n_wrong, 0);
    atomic_store(&slot->is_watched, true);
    int r = pthread_create(&slot->watcher, NULL, watch, slot);
    while (r == 0 && atomic_load(&slot->n_rounds) == 0)
        sched_yield();
    return -r;
}

/* Waits until the thread has read all bytes at least once since the last time. Prints how often it
 * has, and how often bytes had changed. */
static int do_watched(char **words)
{
    struct slot *slot = slot_of(words[0]);

    for (unsigned long n = atomic_load(&slot->n_rounds) + 2; atomic_load(&slot->n_rounds) < n;)
        sched_yield();
    printf("ok %lu %lu\n", atomic_exchange(&slot->n_rounds, 0), atomic_exchange(&slot->n_wrong, 0));
    return 1;
}

static int do_unwatch(char **words)
{
    struct slot *slot = slot_of(words[0]);

    atomic_store(&slot->is_watched, false);
    return -pthread_join(slot->watcher, NULL);
}

/* The bytes are read-only: this does not return. */
static int do_scribble(char **words)
{
    *(volatile char *)(uintptr_t)edgemind_layer_data(slot_of(words[0])->shown) = 1;
    return 0;
}

static int do_begin(char **words)
{
    struct slot *slot = slot_of(words[0]);
    int r = edgemind_run_begin(em, words[1], &slot->run);
    if (r < 0)
        return r;
    printf("ok %" PRIu64 "\n", edgemind_run_layers(slot->run));
    return 1;
}

static int do_next(char **words)
{
    struct slot *slot = slot_of(words[0]);
    struct edgemind_step step;
    int r = edgemind_run_next(slot->run, number(words[1]), &step);
    if (r < 0)
        return r;
    slot->shown = step.layer;
    printf("ok %s %" PRIu64 " %" PRIu64 " %d\n", edgemind_layer_name(step.layer), step.index,
           step.pass, step.hit);
    return 1;
}

static int do_end(char **words)
{
    return edgemind_run_end(slot_of(words[0])->run);
}

static const struct {
    const char *name;
    int (*function)(char **words);
} commands[] = {
    {"connect", do_connect},   {"reconnect", do_reconnect},
    {"check", do_check},       {"timeout", do_timeout},
    {"fork", do_fork},         {"free", do_free},
    {"load", do_load},         {"acquire", do_acquire},
    {"show", do_show},         {"release", do_release},
    {"tensors", do_tensors},   {"save", do_save},
    {"touch", do_touch},       {"watch", do_watch},
    {"watched", do_watched},   {"unwatch", do_unwatch},
    {"scribble", do_scribble}, {"begin", do_begin},
    {"next", do_next},         {"end", do_end},
    {"units", do_units},
};

static void answer(char *line)
{
    char *words[WORDS_MAX + 1] = {NULL}, *rest = line;

    for (size_t i = 0; i < WORDS_MAX; i++)
        words[i] = strtok_r(NULL, " \n", &rest);
    for (size_t i = 0; words[0] && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, words[0]) != 0)
            continue;
        int r = commands[i].function(words + 1);
        const char *name = edgemind_error_name(em);
        if (r < 0)
            printf("%s %s %s\n", strerrorname_np(-r), name ? name : "-", edgemind_error_text(em));
        else if (r == 0)
            printf("ok\n");
        return;
    }
    printf("EINVAL - no such command\n");
}

int main(void)
{
    char *line = NULL;
    size_t n_allocated = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    em = edgemind_new();
    while (getline(&line, &n_allocated, stdin) > 0)
        answer(line);
    free(line);
    for (size_t i = 0; i < SLOTS; i++)
        if (atomic_exchange(&slots[i].is_watched, false))
            pthread_join(slots[i].watcher, NULL);
    edgemind_free(em);
    return 0;
}
