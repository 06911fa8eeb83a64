/* The table of a replayed route trace: a line for each policy. */
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
    snprintf(tokens, sizeof tokens, speed > 0 ? "%.3g" : "-", speed);
    const char *cells[COLUMNS] = {name, share, output_size(bytes, size), tokens};
    return table_add_line(table, cells, COLUMNS, 1, NULL);
}

int output_text_replay(struct output *output, const struct subject *subject, json_t *reply)
{
    json_t *policies = json_object_get(reply, "policies"), *policy;
    json_int_t capacity, layers, tokens, uses, experts, dense;
    char sizes[3][SIZE_TEXT_MAX];
    bool has_speed = false;
    size_t i;
    int r = 0;

    (void)subject;
    if (json_unpack(reply, "{s:I, s:I, s:I, s:I, s:I, s:I}", "capacityBytes", &capacity, "layers",
                    &layers, "tokens", &tokens, "uses", &uses, "expertBytes", &experts,
                    "denseBytes", &dense) < 0 ||
        !json_is_array(policies) || uses <= 0)
        return -EBADMSG;
    _cleanup_(scols_unref_tablep) struct libscols_table *table =
        table_new(output, columns, COLUMNS);
    if (!table)
        return -ENOMEM;
    json_array_foreach (policies, i, policy) {
        has_speed |= json_object_get(policy, "tokensPerSecond") != NULL;
        if (r == 0)
            r = add_policy(table, policy, uses);
    }
    if (!has_speed)
        table_hide(table, SPEED_COLUMN);
    if (r < 0)
        return r;
    fprintf(output->stream,
            "%" JSON_INTEGER_FORMAT " tokens use experts %" JSON_INTEGER_FORMAT
            " times in %" JSON_INTEGER_FORMAT " layers; %s for experts of %s\n",
            tokens, uses, layers, output_size(capacity, sizes[0]), output_size(experts, sizes[1]));
    r = table_print(output, table);
    if (r == 0 && dense > 0)
        fprintf(output->stream, "Each token also uses %s outside the experts, not counted here.\n",
                output_size(dense, sizes[2]));
    return r;
}
