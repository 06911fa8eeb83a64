/* Shows a replayed route trace, or the plan for a model with experts: a line for each policy. */
#include "client/emctl/output.h"

#include "client/emctl/table.h"

#include <errno.h>
#include <libsmartcols.h>

static const struct table_column columns[] = {{"POLICY", 0},
                                              {"HIT-RATE", SCOLS_FL_RIGHT},
                                              {"READ/TOKEN", SCOLS_FL_RIGHT},
                                              {"TOKENS/S", SCOLS_FL_RIGHT}};
enum { COLUMNS = sizeof columns / sizeof *columns, SPEED_COLUMN = 3 };

static int add_policy(struct libscols_table *table, json_t *policy, json_int_t uses)
{
    const char *name;
    json_int_t hits, bytes;
    double speed = 0;
    char share[NUMBER_TEXT_MAX], size[SIZE_TEXT_MAX], tokens[NUMBER_TEXT_MAX];

    if (json_unpack(policy, "{s:s, s:I, s:I, s?F}", "policy", &name, "hits", &hits, "bytesPerToken",
                    &bytes, "tokensPerSecond", &speed) < 0)
        return -EBADMSG;
    snprintf(share, sizeof share, "%.1f%%", 100 * (double)hits / (double)uses);
    snprintf(tokens, sizeof tokens, speed > 0 ? "%.*f" : "-", speed < 100, speed);
    const char *cells[COLUMNS] = {name, share, output_size(bytes, size), tokens};
    return table_add_line(table, cells, COLUMNS, 1, NULL);
}

static int print_table(struct output *output, json_t *policies, json_int_t uses)
{
    _cleanup_(scols_unref_tablep) struct libscols_table *table =
        table_new(output, columns, COLUMNS);
    bool has_speed = false;
    json_t *policy;
    size_t i;
    int r = table ? 0 : -ENOMEM;

    json_array_foreach (policies, i, policy) {
        has_speed |= json_object_get(policy, "tokensPerSecond") != NULL;
        if (r == 0)
            r = add_policy(table, policy, uses);
    }
    if (r == 0 && !has_speed)
        table_hide(table, SPEED_COLUMN);
    return r < 0 ? r : table_print(output, table);
}

/* What the plan is about: a trace, or a model with a guessed trace. */
struct head {
    json_int_t capacity, layers, tokens, uses, experts, dense;
    const char *model; /* NULL: a trace */
    json_int_t used, tables, token;
};

static int parse_head(json_t *reply, struct head *head)
{
    *head = (struct head){0};
    return json_unpack(reply, "{s:I, s:I, s:I, s:I, s:I, s:I, s?s, s?I, s?I, s?I}", "capacityBytes",
                       &head->capacity, "layers", &head->layers, "tokens", &head->tokens, "uses",
                       &head->uses, "expertBytes", &head->experts, "denseBytes", &head->dense,
                       "model", &head->model, "expertsUsed", &head->used, "tableBytes",
                       &head->tables, "tokenBytes", &head->token) < 0 ||
                   head->uses <= 0
               ? -EBADMSG
               : 0;
}

static void print_trace(const struct output *output, const struct head *head)
{
    char sizes[2][SIZE_TEXT_MAX];

    fprintf(output->stream,
            "%" JSON_INTEGER_FORMAT " tokens use experts %" JSON_INTEGER_FORMAT
            " times in %" JSON_INTEGER_FORMAT " layers; %s for experts of %s\n",
            head->tokens, head->uses, head->layers, output_size(head->capacity, sizes[0]),
            output_size(head->experts, sizes[1]));
}

static void print_model(const struct output *output, const struct head *head)
{
    char sizes[5][SIZE_TEXT_MAX];

    fprintf(output->stream,
            "%s has experts of %s in %" JSON_INTEGER_FORMAT " layers; all else is %s%s%s\n",
            head->model, output_size(head->experts, sizes[0]), head->layers,
            output_size(head->dense, sizes[1]),
            head->tables > 0 ? ", and tables of which a token reads a row " : "",
            head->tables > 0 ? output_size(head->tables, sizes[2]) : "");
    fprintf(output->stream,
            "%s hold all else, and %s of experts; a token uses %" JSON_INTEGER_FORMAT
            " experts in each layer, %s with all else\n",
            output_size(head->capacity, sizes[3]),
            output_size(head->capacity - head->dense, sizes[4]), head->used,
            output_size(head->token, sizes[0]));
}

int output_text_replay(struct output *output, const struct subject *subject, json_t *reply)
{
    json_t *policies = json_object_get(reply, "policies");
    struct head head;
    char text[SIZE_TEXT_MAX];

    (void)subject;
    if (!json_is_array(policies) || parse_head(reply, &head) < 0)
        return -EBADMSG;
    (head.model ? print_model : print_trace)(output, &head);
    int r = print_table(output, policies, head.uses);
    if (r == 0 && head.model)
        fputs("assumed, as within one text: a quarter of the choices repeat one of the last token; "
              "the others are among "
              "a third of the experts\n",
              output->stream);
    else if (r == 0 && head.dense > 0)
        fprintf(output->stream, "Each token also uses %s outside the experts, not counted here.\n",
                output_size(head.dense, text));
    return r;
}
