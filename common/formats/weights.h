/* Makes layers from tables of contents: groups tensors into a model's layers, or finds the bytes of
 * the layers of a definition. Thread-safe.
 *
 * How tensors become layers:
 * - A tensor whose name has a component that is a decimal number belongs to a block; the first such
 *   component counts. "blk.0.attn_q.weight" is in layer "blk.0", "model.layers.3.mlp.experts.5.w"
 * in "model.layers.3". Blocks with the same words before the number are a family.
 * - Other tensors belong to their module, the name up to its last dot: "model.norm", "token_embd".
 * - Families are in the order of the files, except that families of an encoder come first and those
 * of a decoder last. Within a family blocks are in the order of their numbers.
 * - A module belongs to the family with which it shares the most leading components. If no family
 * or several families qualify, it is outside of all families. In either case it comes before or
 * after the blocks: embeddings and stems before, norms and then heads after. A table of words in
 *   weights_words.c decides this. Other modules come before the blocks if their bytes are before
 * those of the first block, otherwise after them.
 * - A block or module whose tensors have no bytes is not a layer. Its tensors go to the next layer,
 * or, if there is none, to the last one. A model must have bytes.
 * - Within a layer, tensors are in the order of the files and of their bytes. Each tensor is
 * followed by its aliases in the order of their names.
 *
 * How a layer is cut, if units are wanted: a layer of more than `unit_bytes` becomes several, named
 * "blk.0:1", "blk.0:2" and so on, of at most unit_bytes: as many neighbours as fit of the tensors
 * of at least unit_bytes / WEIGHTS_SMALL_PART, because each unit costs time beside its bytes'. A
 * tensor larger than unit_bytes becomes several slices of rows, "blk.0.ffn_up.weight[0]" and so on.
 * The smaller tensors of the layer are one together, because programs read norms and biases between
 * the large tensors.
 *
 * If experts and tables of which a token reads one row are at least half of the model's bytes, each
 * expert, and each chunk of UNIT_CHUNK_BYTES of such a table, is a unit that is used by chance:
 * "blk.0:u5" is expert 5 of the layer, with its slices "blk.0.ffn_up_exps.weight[5]" of all tensors
 * of experts. Slices have at least a page. The rest of the layer is "blk.0:1", which is cut as
 * above. See weights_slice.h for what is not sliced.
 *
 * Which aliases are valid: those whose `kept` is a tensor in one of the files. Such an alias is a
 * full name of the tensor, for the same bytes. If a tensor has the alias's name, the alias is
 * ignored. An alias for two tensors is refused. An alias of an alias is ignored.
 *
 * How a layer's bytes are placed: tensors that are adjacent in their file, or that have less than
 * piece_align_bytes of padding between them, make one piece, which includes the padding. A tensor
 * with several names is in the layer once. Each further piece starts in a block of
 * piece_align_bytes that the previous piece does not reach. */
#pragma once

#include "common/formats/tensor_file.h"

enum { WEIGHTS_SMALL_PART = 8 };

/* Makes a definition from the tensors of `n_files` > 0 files (shards of one model), grouped into
 * layers in execution order. The pieces' `source` is the index of the file. `model_name` may be any
 * text; characters that a model's name cannot have are replaced. The definition's `weights` is
 * NULL. `unit_bytes` is 0 if no layer is to be cut. 0; -EBADMSG with a problem (its path is a
 * tensor's name); -ENOMEM. */
int weights_group(const char *model_name, struct tensor_file *const *files, uint32_t n_files,
                  uint64_t unit_bytes, struct definition **ret,
                  struct definition_problem *ret_problem);

/* Gives every layer of a parsed definition its pieces. Each layer must have tensors, and each
 * tensor must be in one of the files with the same shape and type. Sets the tensors' offsets to
 * those of the pieces. Must be called before the definition is shared. After a failure the
 * definition must not be used. 0; -EBADMSG with a problem that names the value
 * ("layers[3].tensors[1]"); -ENOMEM. */
int weights_bind(struct definition *definition, struct tensor_file *const *files, uint32_t n_files,
                 struct definition_problem *ret_problem);
