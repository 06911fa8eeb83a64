/* Owns the ring, and the index that finds a layer's entries without a walk over the ring: `newest`
 * has a number for each value of a hash, and each entry has the number of the one before it.
 *
 * Invariant: the entries with the numbers (n_entries - HISTORY_ENTRIES_MAX, n_entries] are in the
 * ring; all links to older numbers are void. The times of `flushes` ascend. */
#include "daemon/history/history.h"

#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { SLOTS = 1 << 14, FLUSHES_MAX = 1024, NO_LAYER = -1 };

struct history {
    const struct scheduler *scheduler;
    uint64_t started_usec; /* since the boot */
    uint64_t n_entries;    /* ever; the number of the newest entry */
    uint64_t n_flushes;    /* ever */
    uint64_t newest[SLOTS];
    struct {
        uint64_t number, mono_usec;
    } flushes[FLUSHES_MAX];
    struct history_entry entries[HISTORY_ENTRIES_MAX];
};

int history_new(const struct scheduler *scheduler, struct history **ret)
{
    struct history *history = calloc(1, sizeof *history); /* its pages are taken as it fills */
    if (!history)
        return -ENOMEM;
    history->scheduler = scheduler;
    history->started_usec = clock_boottime_usec();
    *ret = history;
    return 0;
}

struct history *history_free(struct history *history)
{
    free(history);
    return NULL;
}

/* FNV-1a. */
static uint64_t key_of(const char *name)
{
    uint64_t key = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        key = (key ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return key;
}

static size_t slot_of(uint64_t model_key, uint32_t layer)
{
    return ((model_key ^ layer) * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (SLOTS - 1);
}

static const struct history_entry *entry_at(const struct history *history, uint64_t number)
{
    bool is_kept = number > 0 && history->n_entries - number < HISTORY_ENTRIES_MAX;
    return is_kept ? &history->entries[number % HISTORY_ENTRIES_MAX] : NULL;
}

/* The next older entry of exactly that layer, from `number` on. */
static const struct history_entry *find(const struct history *history, uint64_t number,
                                        uint64_t model_key, uint32_t layer)
{
    const struct history_entry *entry;
    while ((entry = entry_at(history, number))) {
        if (entry->model_key == model_key && entry->layer == layer)
            return entry;
        number = entry->previous;
    }
    return NULL;
}

static const struct history_entry *find_newest(const struct history *history, uint64_t model_key,
                                               uint32_t layer)
{
    return find(history, history->newest[slot_of(model_key, layer)], model_key, layer);
}

static struct history_entry *append(struct history *history, enum history_kind kind,
                                    const struct model *model, const struct layer *layer)
{
    uint64_t model_key = model ? key_of(model->definition->name) : 0;
    uint32_t index = layer ? layer->index : (uint32_t)NO_LAYER;
    uint64_t *newest = &history->newest[slot_of(model_key, index)];
    uint64_t number = ++history->n_entries;
    struct history_entry *entry = &history->entries[number % HISTORY_ENTRIES_MAX];

    *entry = (struct history_entry){.kind = kind,
                                    .boot_usec = clock_boottime_usec(),
                                    .mono_usec = clock_monotonic_usec(),
                                    .layer = index,
                                    .model_key = model_key,
                                    .number = number,
                                    .previous = *newest};
    *newest = number;
    return entry;
}

/* Cuts a longer text between two characters of UTF-8. */
static void set_text(struct history_entry *entry, const char *model, const char *layer)
{
    static const char mark[] = "\xe2\x80\xa6";
    int n = snprintf(entry->text, sizeof entry->text, "%s%s%s", model, *model ? "/" : "", layer);
    if (n < (int)sizeof entry->text)
        return;
    size_t end = sizeof entry->text - sizeof mark;
    while ((entry->text[end] & 0xc0) == 0x80)
        end--;
    memcpy(entry->text + end, mark, sizeof mark);
}

static struct history_entry *append_event(struct history *history, enum history_kind kind,
                                          const struct scheduler_event *event)
{
    struct history_entry *entry = append(history, kind, event->model, event->layer);
    entry->bytes = event->bytes;
    entry->n_layers = event->n_layers;
    entry->requester = event->requester;
    entry->policy = event->policy;
    entry->decision = event->decision;
    entry->trimmed = event->trimmed;
    if (event->successor)
        set_text(entry, event->successor->model->definition->name,
                 layer_definition(event->successor)->name);
    else if (kind == HISTORY_REFUSED && event->layer)
        set_text(entry, "", layer_definition(event->layer)->name);
    return entry;
}

static void append_flush(struct history *history, const struct scheduler_event *event)
{
    const struct history_entry *flush = append_event(history, HISTORY_FLUSHED, event);
    uint64_t at = history->n_flushes++ % FLUSHES_MAX;
    const struct layer *layer = scheduler_oldest_pinned(history->scheduler);

    history->flushes[at].number = flush->number;
    history->flushes[at].mono_usec = flush->mono_usec;
    for (unsigned n = 0; layer && n < HISTORY_HELD_MAX; layer = layer->newer, n++)
        append(history, HISTORY_HELD, layer->model, layer);
}

void history_on_scheduler(const struct scheduler_event *event, void *context)
{
    switch (event->type) {
    case EVENT_MODEL_ADDED:
        append_event(context, HISTORY_ADDED, event);
        break;
    case EVENT_MODEL_REMOVED:
        append_event(context, HISTORY_REMOVED, event);
        break;
    case EVENT_LAYER_EVICTED:
        append_event(context, HISTORY_EVICTED, event);
        break;
    case EVENT_FLUSHED:
        append_flush(context, event);
        break;
    case EVENT_LAYER_ABANDONED:
        append_event(context, HISTORY_ABANDONED, event);
        break;
    case EVENT_REFUSED:
        append_event(context, HISTORY_REFUSED, event);
        break;
    case EVENT_LAYER_LOADING:
    case EVENT_LAYER_LOADED:
    case EVENT_LAYER_PINNED:
    case EVENT_LAYER_UNPINNED:
    case EVENT_POLICY_CHANGED:
        break;
    }
}

/* The oldest flush with a greater number and a later time, of the last FLUSHES_MAX flushes. NULL if
 * there is none, or if an older one may have been forgotten. */
static const struct history_entry *find_flush_after(const struct history *history, uint64_t number,
                                                    uint64_t mono_usec)
{
    uint64_t end = history->n_flushes;
    uint64_t first = end > FLUSHES_MAX ? end - FLUSHES_MAX : 0, low = first, high = end;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        bool is_after = history->flushes[middle % FLUSHES_MAX].number > number &&
                        history->flushes[middle % FLUSHES_MAX].mono_usec >= mono_usec;
        if (is_after)
            high = middle;
        else
            low = middle + 1;
    }
    if (low == end || (low == first && first > 0))
        return NULL;
    return entry_at(history, history->flushes[low % FLUSHES_MAX].number);
}

/* The number of the entry from which on those of a model are about its present registration. */
static uint64_t registered_at(const struct history *history, uint64_t model_key)
{
    const struct history_entry *entry = find_newest(history, model_key, (uint32_t)NO_LAYER);
    return entry ? entry->number : 0;
}

/* The entry that evicted the layer: its own, or the first flush after it was last used or held. */
static const struct history_entry *find_eviction(const struct history *history,
                                                 const struct layer *layer)
{
    uint64_t model_key = key_of(layer->model->definition->name);
    uint64_t since = registered_at(history, model_key);
    const struct history_entry *entry = find_newest(history, model_key, layer->index);

    if (layer->fill_id == 0)
        return NULL;
    for (; entry && entry->number > since && entry->mono_usec >= layer->used_usec;
         entry = find(history, entry->previous, model_key, layer->index)) {
        if (entry->kind == HISTORY_EVICTED)
            return entry;
        if (entry->kind == HISTORY_HELD) {
            since = entry->number;
            break;
        }
    }
    return find_flush_after(history, since, layer->used_usec);
}

uint64_t history_evicted_usec(const struct history *history, const struct layer *layer)
{
    const struct history_entry *entry = find_eviction(history, layer);
    return entry ? entry->mono_usec : 0;
}

size_t history_of_layer(const struct history *history, const struct layer *layer,
                        const struct history_entry **ret, size_t max)
{
    uint64_t model_key = key_of(layer->model->definition->name);
    uint64_t since = registered_at(history, model_key);
    bool is_absent = scheduler_layer_state(history->scheduler, layer) == LAYER_ABSENT;
    const struct history_entry *eviction = is_absent ? find_eviction(history, layer) : NULL;
    const struct history_entry *entry = find_newest(history, model_key, layer->index);
    size_t n = 0;

    if (eviction && eviction->number > since)
        since = eviction->number;
    for (; entry && entry->number > since && entry->mono_usec >= layer->used_usec;
         entry = find(history, entry->previous, model_key, layer->index)) {
        if (entry->kind == HISTORY_HELD)
            continue;
        if (n < max)
            ret[n] = entry;
        n++;
    }
    if (eviction) {
        ret[n < max ? n : max - 1] = eviction;
        n++;
    }
    return n;
}

size_t history_of_model(const struct history *history, const char *name,
                        const struct history_entry **ret, size_t max)
{
    uint64_t model_key = key_of(name);
    bool is_known = scheduler_find_model(history->scheduler, name) != NULL;
    uint64_t since = is_known ? registered_at(history, model_key) : 0;
    const struct history_entry *entry;
    size_t n = 0;

    for (uint64_t i = history->n_entries; i > since && (entry = entry_at(history, i)); i--) {
        bool is_own = entry->model_key == model_key && entry->kind != HISTORY_HELD;
        bool is_flush = is_known && entry->kind == HISTORY_FLUSHED;
        if (!is_own && !is_flush)
            continue;
        if (n < max)
            ret[n] = entry;
        n++;
        if (entry->kind == HISTORY_REMOVED)
            break;
    }
    return n;
}

uint64_t history_since_usec(const struct history *history)
{
    const struct history_entry *oldest =
        entry_at(history, history->n_entries - HISTORY_ENTRIES_MAX + 1);
    return history->n_entries >= HISTORY_ENTRIES_MAX && oldest ? oldest->boot_usec
                                                               : history->started_usec;
}
