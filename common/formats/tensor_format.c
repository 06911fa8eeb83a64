/* Recognises the format of a weight file. safetensors.c and gguf.c read it, and
 * tensor_file_builder.c makes the common checks. */
#include "common/formats/tensor_format.h"

#include "common/definition/definition_pool.h"
#include "common/formats/file_kind.h"
#include "common/formats/gguf.h"
#include "common/formats/safetensors.h"
#include "common/formats/tensor_file_builder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int tensor_format_detect(const struct byte_source *source, enum tensor_format *ret)
{
    char bytes[9];
    size_t n = source->size_bytes < sizeof bytes ? (size_t)source->size_bytes : sizeof bytes;

    int r = n > 0 ? source->read(source->context, 0, bytes, n) : 0;
    if (r < 0)
        return r;
    *ret = TENSOR_FORMAT_NONE;
    if (n >= 4 && memcmp(bytes, "GGUF", 4) == 0)
        *ret = TENSOR_FORMAT_GGUF;
    /* The length of a header always has a zero byte, because headers are short. JSON text never has
     * one. */
    else if (memchr(bytes, '\0', n < 8 ? n : 8) && (n < sizeof bytes || bytes[8] == '{'))
        *ret = TENSOR_FORMAT_SAFETENSORS;
    return 0;
}

static int refuse_kind(const struct tensor_file_builder *builder)
{
    const char *kind;
    int r = file_kind_detect(builder->source, &kind);

    return r < 0 ? r
                 : tensor_file_refuse(builder, "header", "%s",
                                      kind ? kind : "neither safetensors nor GGUF");
}

int tensor_file_read(const struct byte_source *source, struct tensor_file **ret,
                     struct definition_problem *ret_problem)
{
    enum tensor_format format;

    int r = tensor_format_detect(source, &format);
    if (r < 0)
        return r;
    struct tensor_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    file->pool = definition_pool_new();
    struct tensor_file_builder builder = {.file = file, .source = source, .problem = ret_problem};
    if (!file->pool)
        r = -ENOMEM;
    else if (format == TENSOR_FORMAT_SAFETENSORS)
        r = safetensors_read(&builder);
    else if (format == TENSOR_FORMAT_GGUF)
        r = gguf_read(&builder);
    else
        r = refuse_kind(&builder);
    if (r < 0)
        tensor_file_free(file);
    else
        *ret = file;
    return r;
}
