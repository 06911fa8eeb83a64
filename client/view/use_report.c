#include "client/view/use_report.h"

#include "common/residency/layer_uses.h"
#include "proto/interface.h"

#include <string.h>

/* Writes two digits for each of the model's layers from `from` on. Returns their number. */
static uint32_t describe(const struct view *view, uint32_t from, char *text)
{
    static const char digits[] = "0123456789abcdef";
    const struct unit_table *table = &view->table;
    uint32_t n = 0;

    memset(text, 'f', 2 * USED_LAYERS_MAX);
    for (uint32_t i = 0; i < table->n_units; i++) {
        uint32_t at = table->indices[i] - from;
        int percent = layer_uses_percent(view->chance.uses, i);
        if (table->indices[i] < from || at >= USED_LAYERS_MAX || percent < 0)
            continue;
        text[(size_t)2 * at] = digits[percent / 16];
        text[(size_t)2 * at + 1] = digits[percent % 16];
        n = n > at ? n : at + 1;
    }
    text[(size_t)2 * n] = '\0';
    return n;
}

static uint32_t last_layer(const struct view *view)
{
    uint32_t last = 0;

    for (uint32_t i = 0; i < view->table.n_units; i++)
        last = last > view->table.indices[i] ? last : view->table.indices[i];
    return last;
}

int use_report(struct daemon_link *link, struct view *view, uint64_t now_usec)
{
    struct chance *chance = &view->chance;
    char text[2 * USED_LAYERS_MAX + 1];

    if (!chance->uses || !link->varlink || now_usec < chance->told_usec + USE_REPORT_USEC)
        return 0;
    chance->told_usec = now_usec;
    uint32_t from = chance->told_to <= last_layer(view) ? chance->told_to : 0;
    uint32_t n = describe(view, from, text);
    chance->told_to = from + USED_LAYERS_MAX;
    return n > 0 ? daemon_link_tell_uses(link, view, from, text) : 0;
}
