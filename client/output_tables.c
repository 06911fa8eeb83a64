/* What is there, in tables: models, layers, tensors, and the steps of a plan. */
#include "client/output.h"

#include "client/table.h"
#include "common/cleanup.h"
#include "common/units.h"

#include <errno.h>
#include <libsmartcols.h>
#include <string.h>

/* A reply's number; one below zero, which no interface allows, is shown as zero. */
static const char *size(json_int_t bytes, char text[static SIZE_TEXT_MAX])
{
    return size_format(bytes > 0 ? (uint64_t)bytes : 0, text);
}

enum { NUMBER_TEXT_MAX = 24 };

static const char *number(json_int_t value, char text[static NUMBER_TEXT_MAX])
{
    snprintf(text, NUMBER_TEXT_MAX, "%" JSON_INTEGER_FORMAT, value);
    return text;
}

static const struct table_column model_columns[] = {
    {"MODEL", SCOLS_FL_TRUNC}, {"LAYERS", SCOLS_FL_RIGHT},        {"RESIDENT", SCOLS_FL_RIGHT},
    {"SIZE", SCOLS_FL_RIGHT},  {"RESIDENT-SIZE", SCOLS_FL_RIGHT},
};
enum { MODEL_COLUMNS = sizeof model_columns / sizeof *model_columns };

static int add_model(struct libscols_table *table, json_t *model)
{
    const char *name;
    json_int_t layers, resident, bytes, resident_bytes;
    char texts[2][NUMBER_TEXT_MAX], sizes[2][SIZE_TEXT_MAX];

    if (json_unpack(model, "{s:s, s:I, s:I, s:I, s:I}", "name", &name, "layers", &layers,
                    "residentLayers", &resident, "bytes", &bytes, "residentBytes",
                    &resident_bytes) < 0)
        return -EBADMSG;
    const char *cells[MODEL_COLUMNS] = {name, number(layers, texts[0]), number(resident, texts[1]),
                                        size(bytes, sizes[0]), size(resident_bytes, sizes[1])};
    return table_add_line(table, cells, MODEL_COLUMNS, 2, resident > 0 ? "green" : NULL);
}

static const struct table_column layer_columns[] = {
    {"LAYER", SCOLS_FL_TRUNC},   {"STATE", 0},
    {"SIZE", SCOLS_FL_RIGHT},    {"FOOTPRINT", SCOLS_FL_RIGHT},
    {"EXTENTS", SCOLS_FL_RIGHT}, {"TENSORS", SCOLS_FL_RIGHT},
};
enum { LAYER_COLUMNS = sizeof layer_columns / sizeof *layer_columns };

static int add_layer(struct libscols_table *table, json_t *layer)
{
    const char *name, *state;
    json_int_t bytes, footprint, extents, tensors;
    char texts[2][NUMBER_TEXT_MAX], sizes[2][SIZE_TEXT_MAX];

    if (json_unpack(layer, "{s:s, s:s, s:I, s:I, s:I, s:I}", "name", &name, "state", &state,
                    "bytes", &bytes, "footprintBytes", &footprint, "extents", &extents, "tensors",
                    &tensors) < 0)
        return -EBADMSG;
    const char *cells[LAYER_COLUMNS] = {name,
                                        state,
                                        size(bytes, sizes[0]),
                                        footprint > 0 ? size(footprint, sizes[1]) : "-",
                                        extents > 0 ? number(extents, texts[0]) : "-",
                                        number(tensors, texts[1])};
    const char *color = strcmp(state, "resident") == 0  ? "green"
                        : strcmp(state, "loading") == 0 ? "yellow"
                                                        : NULL;
    return table_add_line(table, cells, LAYER_COLUMNS, 1, color);
}

/* A long list comes in parts; its columns are aligned only when all of it is there. */
int output_text_list(struct output *output, const struct subject *subject, json_t *reply)
{
    json_t *items = json_object_get(reply, subject->model ? "layers" : "models"), *item;
    size_t i;
    int r = 0;

    if (!json_is_array(items))
        return -EBADMSG;
    if (!output->table)
        output->table = subject->model ? table_new(output, layer_columns, LAYER_COLUMNS)
                                       : table_new(output, model_columns, MODEL_COLUMNS);
    if (!output->table)
        return -ENOMEM;
    json_array_foreach (items, i, item) {
        r = subject->model ? add_layer(output->table, item) : add_model(output->table, item);
        if (r < 0)
            break;
    }
    return r;
}

int output_text_list_end(struct output *output, const struct subject *subject, json_t *reply)
{
    (void)reply;
    if (!output->table || scols_table_is_empty(output->table)) {
        if (!subject->model)
            fputs("no models; 'emctl load-model FILE' loads one\n", output->stream);
        return 0;
    }
    return table_print(output, output->table);
}

static const struct table_column tensor_columns[] = {
    {"LAYER / TENSOR", SCOLS_FL_TRUNC},
    {"DTYPE", 0},
    {"SHAPE", SCOLS_FL_RIGHT},
    {"SIZE", SCOLS_FL_RIGHT},
};
enum { TENSOR_COLUMNS = sizeof tensor_columns / sizeof *tensor_columns };

int output_text_list_layer(struct output *output, const struct subject *subject, json_t *layer)
{
    const char *name;
    json_int_t bytes;
    char text[SIZE_TEXT_MAX];

    (void)subject;
    if (json_unpack(layer, "{s:s, s:I}", "name", &name, "bytes", &bytes) < 0)
        return -EBADMSG;
    if (!output->table)
        output->table = table_new(output, tensor_columns, TENSOR_COLUMNS);
    if (!output->table)
        return -ENOMEM;
    const char *cells[TENSOR_COLUMNS] = {name, "", "", size(bytes, text)};
    return table_add_line(output->table, cells, TENSOR_COLUMNS, 0, "bold");
}

/* "1024x2048"; a tensor without dimensions holds one number. */
static int format_shape(const json_t *shape, char *text, size_t n_bytes)
{
    json_t *extent;
    size_t i;
    int n = snprintf(text, n_bytes, "%s", json_array_size(shape) == 0 ? "scalar" : "");

    json_array_foreach (shape, i, extent) {
        if (!json_is_integer(extent) || (size_t)n >= n_bytes)
            return -EBADMSG;
        n += snprintf(text + n, n_bytes - (size_t)n, "%s%" JSON_INTEGER_FORMAT, i > 0 ? "x" : "",
                      json_integer_value(extent));
    }
    return json_is_array(shape) ? 0 : -EBADMSG;
}

static int add_tensor(struct libscols_table *table, json_t *tensor)
{
    const char *name, *dtype;
    json_t *shape;
    json_int_t bytes;
    char shape_text[192], text[SIZE_TEXT_MAX]; /* 8 dimensions of 20 digits */
    _cleanup_(freep) char *indented = NULL;

    if (json_unpack(tensor, "{s:s, s:s, s:o, s:I}", "name", &name, "dtype", &dtype, "shape", &shape,
                    "bytes", &bytes) < 0 ||
        format_shape(shape, shape_text, sizeof shape_text) < 0)
        return -EBADMSG;
    if (asprintf(&indented, "  %s", name) < 0) {
        indented = NULL;
        return -ENOMEM;
    }
    const char *cells[TENSOR_COLUMNS] = {indented, dtype, shape_text, size(bytes, text)};
    return table_add_line(table, cells, TENSOR_COLUMNS, 0, NULL);
}

int output_text_list_tensors(struct output *output, const struct subject *subject, json_t *reply)
{
    json_t *tensors = json_object_get(reply, "tensors"), *tensor;
    size_t i;
    int r = json_is_array(tensors) && output->table ? 0 : -EBADMSG;

    (void)subject;
    json_array_foreach (tensors, i, tensor) {
        if (r == 0)
            r = add_tensor(output->table, tensor);
    }
    return r;
}

static const struct table_column step_columns[] = {
    {"LAYER", SCOLS_FL_TRUNC},        {"DECISION", 0},
    {"SIZE", SCOLS_FL_RIGHT},         {"EVICTS", SCOLS_FL_RIGHT},
    {"EVICTED-SIZE", SCOLS_FL_RIGHT},
};
enum { STEP_COLUMNS = sizeof step_columns / sizeof *step_columns };

static int add_step(struct libscols_table *table, json_t *step)
{
    const char *layer, *decision;
    int hit;
    json_int_t bytes, victims, victim_bytes;
    char text[NUMBER_TEXT_MAX], sizes[2][SIZE_TEXT_MAX];

    if (json_unpack(step, "{s:s, s:s, s:b, s:I, s:I, s:I}", "layer", &layer, "decision", &decision,
                    "hit", &hit, "bytes", &bytes, "victims", &victims, "victimBytes",
                    &victim_bytes) < 0)
        return -EBADMSG;
    const char *cells[STEP_COLUMNS] = {layer, hit ? "loaded (hit)" : decision,
                                       size(bytes, sizes[0]),
                                       victims > 0 ? number(victims, text) : "-",
                                       victims > 0 ? size(victim_bytes, sizes[1]) : "-"};
    const char *color = strcmp(decision, "loaded") == 0        ? "green"
                        : strcmp(decision, "must-unload") == 0 ? "yellow"
                                                               : "red";
    return table_add_line(table, cells, STEP_COLUMNS, 1, color);
}

int output_text_plan(struct output *output, const struct subject *subject, json_t *reply)
{
    const char *model, *policy, *before = ": ";
    json_int_t capacity, total, loaded, hits, must_unload, out_of_memory, busy, evictions, flushes,
        resident;
    const struct {
        const json_int_t *n;
        const char *one, *many;
    } counts[] = {
        {&loaded, "loaded", "loaded"},
        {&hits, "hit", "hits"},
        {&must_unload, "must-unload", "must-unload"},
        {&out_of_memory, "out-of-memory", "out-of-memory"},
        {&busy, "busy", "busy"},
        {&evictions, "eviction", "evictions"},
        {&flushes, "flush", "flushes"},
        {&resident, "resident at the end", "resident at the end"},
    };
    json_t *steps, *step;
    size_t i;
    char text[SIZE_TEXT_MAX];

    (void)subject;
    if (json_unpack(reply, "{s:s, s:s, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                    "model", &model, "policy", &policy, "capacityBytes", &capacity, "steps", &steps,
                    "stepsTotal", &total, "hits", &hits, "loaded", &loaded, "mustUnload",
                    &must_unload, "outOfMemory", &out_of_memory, "busy", &busy, "evictions",
                    &evictions, "flushes", &flushes, "resident", &resident) < 0 ||
        !json_is_array(steps))
        return -EBADMSG;
    scols_unref_table(output->table);
    output->table = table_new(output, step_columns, STEP_COLUMNS);
    if (!output->table)
        return -ENOMEM;
    json_array_foreach (steps, i, step) {
        int r = add_step(output->table, step);
        if (r < 0)
            return r;
    }
    int r = table_print(output, output->table);
    if (r < 0)
        return r;
    if (total > (json_int_t)json_array_size(steps))
        fprintf(output->stream, "and %" JSON_INTEGER_FORMAT " more\n",
                total - (json_int_t)json_array_size(steps));
    fprintf(output->stream, "%s into %s, %s", model, size(capacity, text), policy);
    for (i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (*counts[i].n == 0)
            continue;
        fprintf(output->stream, "%s%" JSON_INTEGER_FORMAT " %s", before, *counts[i].n,
                *counts[i].n == 1 ? counts[i].one : counts[i].many);
        before = ", ";
    }
    fputc('\n', output->stream);
    return 0;
}
