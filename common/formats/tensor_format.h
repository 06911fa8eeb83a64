/* Reads a weight file of any format. Thread-safe. */
#pragma once

#include "common/formats/tensor_file.h"

enum tensor_format { TENSOR_FORMAT_NONE, TENSOR_FORMAT_SAFETENSORS, TENSOR_FORMAT_GGUF };

/* Guesses the format from the first bytes; NONE: probably a JSON definition. 0 or a read's errno.
 */
int tensor_format_detect(const struct byte_source *source, enum tensor_format *ret);

/* 0 and a new object; -EBADMSG with `ret_problem` (path: the tensor's name or the field, message:
 * the reason with its figures); a read's errno; -ENOMEM. */
int tensor_file_read(const struct byte_source *source, struct tensor_file **ret,
                     struct definition_problem *ret_problem);
