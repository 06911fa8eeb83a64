/* Held layers. mapped_layer.c has their bytes and tensors; channel.c makes the calls. */
#include "client/library/connection.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

/* Takes the units, of which it holds a layer's, or NULL. */
static int acquire(struct edgemind *em, const char *model, const char *layer, json_t *units,
                   uint64_t wait_usec, struct edgemind_layer **ret)
{
    int r = connection_check_wait(em, wait_usec);
    struct edgemind_layer *held = r == 0 ? calloc(1, sizeof *held) : NULL;
    if (held)
        held->model = strdup(model);
    if (!held || !held->model) {
        free(held);
        json_decref(units);
        return r < 0 ? r : last_error_set(&em->last_error, -ENOMEM, "%s", strerror(ENOMEM));
    }
    do {
        r = connection_ready(em);
        if (r == 0)
            r = channel_acquire(&em->channel, model, layer, units, wait_usec, 0, &em->last_error,
                                &held->mapped);
    } while (connection_again(em, r));
    if (r < 0) {
        free(held->model);
        free(held);
        json_decref(units);
        return r;
    }
    held->em = em;
    held->units = units;
    LIST_INSERT_HEAD(&em->layers, held, entry);
    *ret = held;
    return 0;
}

int edgemind_acquire(struct edgemind *em, const char *model, const char *layer, uint64_t wait_usec,
                     struct edgemind_layer **ret)
{
    return acquire(em, model, layer, NULL, wait_usec, ret);
}

int edgemind_acquire_units(struct edgemind *em, const char *model, const char *layer,
                           const uint32_t *units, size_t n_units, uint64_t wait_usec,
                           struct edgemind_layer **ret)
{
    json_t *numbers = json_array();

    for (size_t i = 0; i < n_units; i++) {
        if (json_array_append_new(numbers, json_integer(units[i])) < 0) {
            json_decref(numbers);
            numbers = NULL;
        }
    }
    if (!numbers)
        return last_error_set(&em->last_error, -ENOMEM, "%s", strerror(ENOMEM));
    return acquire(em, model, layer, numbers, wait_usec, ret);
}

int edgemind_release(struct edgemind_layer *layer)
{
    int r;

    if (!layer)
        return 0;
    struct edgemind *em = layer->em;
    do {
        r = connection_ready(em);
        if (r == 0)
            r = channel_release(&em->channel, layer->mapped.lease, &em->last_error);
    } while (connection_again(em, r));
    if (r == 0)
        r = connection_verify(layer);
    connection_free_layer(layer);
    return r;
}

const void *edgemind_layer_data(const struct edgemind_layer *layer)
{
    return layer->units ? NULL : layer->mapped.parts[0].range.data;
}

size_t edgemind_layer_bytes(const struct edgemind_layer *layer)
{
    return layer->mapped.bytes;
}

const char *edgemind_layer_name(const struct edgemind_layer *layer)
{
    return layer->mapped.layer;
}

const char *edgemind_layer_model(const struct edgemind_layer *layer)
{
    return layer->model;
}

size_t edgemind_layer_tensors(const struct edgemind_layer *layer)
{
    return layer->mapped.n_tensors;
}

int edgemind_layer_tensor(const struct edgemind_layer *layer, size_t index,
                          struct edgemind_tensor *ret)
{
    if (index >= layer->mapped.n_tensors)
        return -ENOENT;
    *ret = layer->mapped.tensors[index];
    return 0;
}

int edgemind_layer_find_tensor(const struct edgemind_layer *layer, const char *name,
                               struct edgemind_tensor *ret)
{
    for (size_t i = 0; i < layer->mapped.n_tensors; i++)
        if (strcmp(layer->mapped.tensors[i].name, name) == 0)
            return edgemind_layer_tensor(layer, i, ret);
    return -ENOENT;
}
