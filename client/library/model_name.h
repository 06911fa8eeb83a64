/* The name of a model whose file has no name in it. Pure, except that a relative path depends on
 * the current directory. */
#pragma once

#include <stdbool.h>

/* The name of the model in the weight file or index `path`; malloc'ed, NULL when out of memory:
 *     dir/llama.Q4.gguf                                             llama.Q4
 *     dir/llama-00002-of-00003.gguf                                 llama
 *     models--ORG--NAME/snapshots/REVISION/model.safetensors        NAME
 *     models--ORG--NAME/snapshots/REVISION/unet/model.safetensors   NAME-unet
 *     dir/model.safetensors.index.json                              dir
 * The paths with models--ORG--NAME are in the cache of Hugging Face's libraries, where the files of
 * every repository have the same names; a file with another name there keeps its name. The file
 * name of an index is never used. With `by_directory` the caller named the directory, so a file
 * name such as "model" is not used either. */
char *model_name_of_path(const char *path, bool is_index, bool by_directory);

/* Turns `text` into a model's name of at most 255 bytes. Control characters and bytes that are not
 * UTF-8 become \uXXXX. A valid name does not change, so the function is idempotent. */
char *model_name_escape(const char *text);
