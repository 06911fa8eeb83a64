/* Recognises files that are not models for the daemon. People download, clone and convert models,
 * and often get another file than they expect. Thread-safe. */
#pragma once

#include "common/formats/tensor_file.h"

/* `ret` is a clause for a message, as "this is a PyTorch checkpoint; convert it to safetensors". It
 * is NULL if the file is not one of the known kinds. Static storage. 0 or a read's errno. */
int file_kind_detect(const struct byte_source *source, const char **ret);
