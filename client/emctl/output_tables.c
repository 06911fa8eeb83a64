/* Tables of models, layers, tensors, and the steps of a planned load. */
#include "client/emctl/output.h"

#include "client/emctl/table.h"
#include "common/cleanup.h"
#include "common/units.h"

#include <errno.h>
#include <libsmartcols.h>
#include <string.h>

static const struct table_column model_columns[] = {
    {"MODEL", SCOLS_FL_TRUNC}, {"LAYERS", SCOLS_FL_RIGHT},        {"RESIDENT", SCOLS_FL_RIGHT},
    {"SIZE", SCOLS_FL_RIGHT},  {"RESIDENT-SIZE", SCOLS_FL_RIGHT}, {"VIEWS", SCOLS_FL_RIGHT},
};
enum { MODEL_COLUMNS = sizeof model_columns / sizeof *model_columns };

static int add_model(struct libscols_table *table, json_t *model)
{
    const char *name;
    json_int_t layers, resident, bytes, resident_bytes;
    json_int_t views = json_integer_value(json_object_get(model, "views"));
    char texts[3][NUMBER_TEXT_MAX], sizes[2][SIZE_TEXT_MAX];

    if (json_unpack(model, "{s:s, s:I, s:I, s:I, s:I}", "name", &name, "layers", &layers,
                    "residentLayers", &resident, "bytes", &bytes, "residentBytes",
                    &resident_bytes) < 0)
        return -EBADMSG;
    const char *cells[MODEL_COLUMNS] = {name,
                                        output_number(layers, texts[0]),
                                        output_number(resident, texts[1]),
                                        output_size(bytes, sizes[0]),
                                        output_size(resident_bytes, sizes[1]),
                                        views > 0 ? output_number(views, texts[2]) : "-"};
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
                                        output_size(bytes, sizes[0]),
                                        footprint > 0 ? output_size(footprint, sizes[1]) : "-",
                                        extents > 0 ? output_number(extents, texts[0]) : "-",
                                        output_number(tensors, texts[1])};
    const char *color = strcmp(state, "resident") == 0  ? "green"
                        : strcmp(state, "loading") == 0 ? "yellow"
                                                        : NULL;
    return table_add_line(table, cells, LAYER_COLUMNS, 1, color);
}

/* A long list comes in several replies. The table is printed after the last one, because only then
 * are the widths of its columns known. */
int output_text_list(struct output *output, const struct subject *subject, json_t *reply)
{
    json_t *items = json_object_get(reply, subject->model ? "layers" : "models"), *item;
    size_t i;

    if (!json_is_array(items))
        return -EBADMSG;
    int r = subject->model ? table_begin(output, layer_columns, LAYER_COLUMNS)
                           : table_begin(output, model_columns, MODEL_COLUMNS);
    json_array_foreach (items, i, item)
        if (r == 0)
            r = subject->model ? add_layer(output->table, item) : add_model(output->table, item);
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
    if (table_begin(output, tensor_columns, TENSOR_COLUMNS) < 0)
        return -ENOMEM;
    const char *cells[TENSOR_COLUMNS] = {name, "", "", output_size(bytes, text)};
    return table_add_line(output->table, cells, TENSOR_COLUMNS, 0, "bold");
}

/* "1024x2048", or "scalar" for a tensor without dimensions. */
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
    const char *cells[TENSOR_COLUMNS] = {indented, dtype, shape_text, output_size(bytes, text)};
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
                                       output_size(bytes, sizes[0]),
                                       victims > 0 ? output_number(victims, text) : "-",
                                       victims > 0 ? output_size(victim_bytes, sizes[1]) : "-"};
    const char *color = strcmp(decision, "loaded") == 0        ? "green"
                        : strcmp(decision, "must-unload") == 0 ? "yellow"
                                                               : "red";
    return table_add_line(table, cells, STEP_COLUMNS, 1, color);
}

int output_text_plan_steps(struct output *output, const struct subject *subject, json_t *reply)
{
    json_t *steps = json_object_get(reply, "steps"), *step;
    json_int_t more = json_integer_value(json_object_get(reply, "stepsTotal"));
    _cleanup_(scols_unref_tablep) struct libscols_table *table =
        table_new(output, step_columns, STEP_COLUMNS);
    size_t i;
    int r = table ? 0 : -ENOMEM;

    (void)subject;
    if (!json_is_array(steps))
        return -EBADMSG;
    json_array_foreach (steps, i, step)
        if (r == 0)
            r = add_step(table, step);
    if (r == 0)
        r = table_print(output, table);
    more -= (json_int_t)json_array_size(steps);
    if (r == 0 && more > 0)
        fprintf(output->stream, "and %" JSON_INTEGER_FORMAT " more\n", more);
    return r;
}
