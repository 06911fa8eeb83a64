/* Owns the table of words that identify kinds of modules. */
#include "common/formats/weights_words.h"

#include <string.h>

/* Words in the components of a module's name. The first match counts. */
static const struct {
    const char *word;
    enum { IS, BEGINS, HAS } how;
    enum phase phase;
} words[] = {
    {"embed_out", IS, PHASE_LAST},
    {"emb", HAS, PHASE_BEFORE}, /* token_embd, embed_tokens, word_embeddings, patch_embed */
    {"wte", IS, PHASE_BEFORE},
    {"wpe", IS, PHASE_BEFORE},
    {"shared", IS, PHASE_BEFORE}, /* embeddings of T5 and BART */
    {"position", BEGINS, PHASE_BEFORE},
    {"token_type", BEGINS, PHASE_BEFORE},
    {"cls_token", IS, PHASE_BEFORE},
    {"rope", BEGINS, PHASE_BEFORE},
    {"stem", HAS, PHASE_BEFORE},
    {"conv_in", IS, PHASE_BEFORE},
    {"conv1", IS, PHASE_BEFORE},
    {"conv2", IS, PHASE_BEFORE},
    {"pre_", BEGINS, PHASE_BEFORE},
    {"ln_pre", IS, PHASE_BEFORE},
    {"norm", HAS, PHASE_AFTER},
    {"ln_", BEGINS, PHASE_AFTER}, /* ln_f, ln_post */
    {"head", HAS, PHASE_LAST},
    {"output", BEGINS, PHASE_LAST},
    {"conv_out", IS, PHASE_LAST},
    {"proj_out", IS, PHASE_LAST},
    {"pooler", IS, PHASE_LAST},
    {"classifier", HAS, PHASE_LAST},
    {"cls", IS, PHASE_LAST},
    {"score", BEGINS, PHASE_LAST},
};

/* Copies the component of a name that begins at `text`. It is cut if it is too long. */
static size_t take_component(const char *text, size_t n_text, char component[64])
{
    const char *dot = memchr(text, '.', n_text);
    size_t n = dot ? (size_t)(dot - text) : n_text;
    size_t n_kept = n < 63 ? n : 63;

    memcpy(component, text, n_kept);
    component[n_kept] = '\0';
    return n;
}

enum phase weights_phase(const char *name, size_t n_name)
{
    char component[64];

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        for (size_t at = 0; at < n_name;) {
            at += take_component(name + at, n_name - at, component) + 1;
            const char *found = strcasestr(component, words[i].word);
            if (found && (words[i].how == HAS || found == component) &&
                (words[i].how != IS || strlen(component) == strlen(words[i].word)))
                return words[i].phase;
        }
    return PHASE_BLOCKS;
}

int weights_side(const char *name, size_t n_name)
{
    char component[64];

    for (size_t at = 0; at < n_name;) {
        at += take_component(name + at, n_name - at, component) + 1;
        if (strcmp(component, "encoder") == 0 || strcmp(component, "enc") == 0)
            return -1;
        if (strcmp(component, "decoder") == 0 || strcmp(component, "dec") == 0)
            return 1;
    }
    return 0;
}
