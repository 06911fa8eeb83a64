/* From tables of contents to layers: grouping tensors into a model's layers, and finding the bytes
 * of layers that a definition describes. Thread-safe.
 *
 * How tensors become layers:
 * - A tensor whose name has a component that is a decimal number belongs to a block; the first such
 *   component counts. "blk.0.attn_q.weight" is in layer "blk.0", "model.layers.3.mlp.experts.5.w"
 * in "model.layers.3". Blocks with the same words before the number are a family.
 * - Other tensors belong to their module, the name up to its last dot: "model.norm", "token_embd".
 * - Families stand in the order of the files; only those of an encoder stand before, those of a
 *   decoder behind the rest. Within a family blocks stand by number.
 * - A module stands beside the family with which it shares most leading components, or, where none
 *   or several do, outside of all families. There it stands before or behind the blocks: embeddings
 *   and stems before, norms and then heads behind, as a table of words in weights_group.c knows;
 *   a module that it does not know stands where its bytes do, before or behind the first block's.
 * - A block or module whose tensors have no bytes is no layer: they stand in the next layer, or in
 *   the last one. A model must have bytes.
 * - In a layer tensors stand in the order of the files and of their bytes, each followed by its
 *   aliases, by name.
 *
 * Which aliases hold: those whose `kept` is a tensor of one of the files. Then the alias is a name
 * as good as the tensor's own, for the same bytes. A tensor of the alias's name goes before it: it
 * is no alias. One alias for two tensors is refused. No chain is followed: an alias of an alias is
 * just text.
 *
 * How a layer's bytes are placed: tensors that touch in their file, or are apart only by less than
 * PIECE_ALIGN_BYTES of padding, are one piece, padding included; a tensor that the layer has under
 * several names lies there once. Each further piece starts in a
 * block of PIECE_ALIGN_BYTES that the one before it does not reach. */
#pragma once

#include "common/formats/tensor_file.h"

/* A new definition from the tensors of `n_files` > 0 files (shards of one model), grouped into
 * layers in execution order. The pieces' `source` is the index of the file. `model_name` may be any
 * text: what a model's name cannot hold is replaced. The definition's `weights` is NULL. 0;
 * -EBADMSG with a problem (its path is a tensor's name); -ENOMEM. */
int weights_group(const char *model_name, struct tensor_file *const *files, uint32_t n_files,
                  struct definition **ret, struct definition_problem *ret_problem);

/* Gives every layer of a parsed definition its pieces: each layer must have tensors and each of
 * them must be in one of the files, with the same shape and type. Tensor offsets become those of
 * the pieces. To be called before the definition is shared; after a failure it is of no use. 0;
 * -EBADMSG with a problem that names the value ("layers[3].tensors[1]"); -ENOMEM. */
int weights_bind(struct definition *definition, struct tensor_file *const *files, uint32_t n_files,
                 struct definition_problem *ret_problem);
