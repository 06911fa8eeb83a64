/* The file of a folder that says what the model in it is. */
#pragma once

/* Opens the folder's index of sharded safetensors, or, if there is none, its only weight file:
 * parts of one split GGUF file count as one, and hidden files do not count. A descriptor and its
 * path (malloc'ed); -ENOENT if the folder has no weights; -EMLINK if it has several; or another
 * negative errno. In the last case, and only then, `ret_path` may be NULL; else it is a list of
 * what was found ("a.gguf, b.gguf and 3 more"), or empty. */
int model_folder_open(const char *directory, char **ret_path);
