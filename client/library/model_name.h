/* What a model is called that comes from files without a name of their own. Pure, but for the
 * current directory, which a relative path begins in. */
#pragma once

#include <stdbool.h>

/* The name of the model in the weight file or index `path`; malloc'ed, NULL when out of memory:
 *     dir/llama.Q4.gguf                                             llama.Q4
 *     dir/llama-00002-of-00003.gguf                                 llama
 *     models--ORG--NAME/snapshots/REVISION/model.safetensors        NAME
 *     models--ORG--NAME/snapshots/REVISION/unet/model.safetensors   NAME-unet
 *     dir/model.safetensors.index.json                              dir
 * The second last two are the cache of Hugging Face's libraries, whose files are called alike in
 * every repository; a file that has a name of its own there keeps it. The name of an index says
 * nothing, and with `by_directory` neither does that of a file that is called "model" or the like,
 * because the caller named the directory. */
char *model_name_of_path(const char *path, bool is_index, bool by_directory);

/* `text` as a model's name: at most 255 bytes, in which controls and bytes that are no UTF-8 stand
 * as \uXXXX. A name that is fit stays as it is, so that what this returns, returns itself. */
char *model_name_escape(const char *text);
