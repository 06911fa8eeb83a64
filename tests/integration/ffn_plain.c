/* The reference for client/examples/ffn_forward: the same network, read completely into this
 * process's memory, without the daemon and the library. Prints the output, one number per line.
 *
 * ffn_plain WEIGHTS.safetensors LAYERS */
#include <err.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct matrix {
    const float *values;
    size_t n_rows, n_columns;
};

static unsigned char *read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        err(EXIT_FAILURE, "%s", path);
    unsigned char *bytes = malloc((size_t)status.st_size);
    for (off_t n = 0; bytes && n < status.st_size;) {
        ssize_t r = read(fd, bytes + n, (size_t)(status.st_size - n));
        if (r <= 0)
            err(EXIT_FAILURE, "%s", path);
        n += r;
    }
    if (!bytes)
        errx(EXIT_FAILURE, "out of memory");
    close(fd);
    return bytes;
}

static struct matrix find(const json_t *header, const unsigned char *data, unsigned layer,
                          const char *kind)
{
    char name[64];
    snprintf(name, sizeof name, "dense_%u.%s", layer, kind);
    const json_t *tensor = json_object_get(header, name);
    const json_t *shape = json_object_get(tensor, "shape");
    const json_t *begin = json_array_get(json_object_get(tensor, "data_offsets"), 0);
    if (!tensor)
        errx(EXIT_FAILURE, "there is no %s", name);
    return (struct matrix){(const float *)(const void *)(data + json_integer_value(begin)),
                           (size_t)json_integer_value(json_array_get(shape, 0)),
                           (size_t)json_integer_value(json_array_get(shape, 1))};
}

int main(int argc, char **argv)
{
    if (argc != 3)
        errx(2, "usage: ffn_plain WEIGHTS.safetensors LAYERS");
    unsigned char *file = read_file(argv[1]);
    uint64_t header_bytes;
    memcpy(&header_bytes, file, sizeof header_bytes);
    json_t *header = json_loadb((const char *)file + 8, header_bytes, 0, NULL);
    if (!header)
        errx(EXIT_FAILURE, "%s is no safetensors", argv[1]);

    float *input = NULL;
    size_t width = 0;
    for (unsigned layer = 0; layer < (unsigned)atoi(argv[2]); layer++) {
        struct matrix weight = find(header, file + 8 + header_bytes, layer, "weight");
        struct matrix bias = find(header, file + 8 + header_bytes, layer, "bias");
        if (!input) {
            input = malloc(weight.n_columns * sizeof *input);
            for (width = 0; width < weight.n_columns; width++)
                input[width] = (float)(width % 17) / 16 - 0.5F;
        }
        float *output = malloc(weight.n_rows * sizeof *output);
        for (size_t row = 0; row < weight.n_rows; row++) {
            float sum = 0;
            for (size_t k = 0; k < width; k++)
                sum += weight.values[row * width + k] * input[k];
            sum += bias.values[row];
            output[row] = sum > 0 ? sum : 0;
        }
        free(input);
        input = output;
        width = weight.n_rows;
    }
    for (size_t i = 0; i < width; i++)
        printf("%.9g\n", (double)input[i]);
    free(input);
    json_decref(header);
    free(file);
    return 0;
}
