/* What a file is that is no model for the daemon: people download, clone and convert, and what then
 * lies there is often something else. Thread-safe. */
#pragma once

#include "common/formats/tensor_file.h"

/* `ret` is a clause for a message, as "this is a PyTorch checkpoint; convert it to safetensors", or
 * NULL: nothing is known against the file. Static storage. 0 or a read's errno. */
int file_kind_detect(const struct byte_source *source, const char **ret);
