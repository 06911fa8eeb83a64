/* A finished table of contents of a weight file: its lifetime, the lookup of tensors, and the
 * source of its bytes. */
#include "common/formats/tensor_file.h"

#include "common/definition/definition_pool.h"

#include <errno.h>
#include <string.h>

int byte_source_pread(void *fd, uint64_t offset_bytes, void *buffer, size_t n_bytes)
{
    char *to = buffer;

    while (n_bytes > 0) {
        ssize_t n = pread(*(const int *)fd, to, n_bytes, (off_t)offset_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        to += n;
        offset_bytes += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return 0;
}

struct tensor_file *tensor_file_free(struct tensor_file *file)
{
    if (file)
        definition_pool_free(file->pool);
    free(file);
    return NULL;
}

int64_t tensor_file_find(const struct tensor_file *file, const char *name)
{
    uint32_t low = 0, high = file->n_entries;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int r = strcmp(name, file->entries[file->by_name[middle]].name);
        if (r == 0)
            return file->by_name[middle];
        if (r < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -ENOENT;
}
