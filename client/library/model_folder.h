/* Finds the main file of the model in a folder. */
#pragma once

/* Opens the folder's index of sharded safetensors, or, if there is none, its only weight file. The
 * parts of a split GGUF file count as one file, and hidden files do not count. Returns a
 * descriptor, and its path in `ret_path` (malloc'ed); -ENOENT if the folder has no weights; -EMLINK
 * if it has several models; or another negative errno. After -ENOENT and -EMLINK `ret_path` is a
 * list of the files found
 * ("a.gguf, b.gguf and 3 more"), or empty. Only after another errno it may be NULL. */
int model_folder_open(const char *directory, char **ret_path);
