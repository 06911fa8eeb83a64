/* Runs a feed-forward network (linear layers with bias and ReLU, as ffn10.json) through an arena of
 * any size. The daemon loads each layer when the network needs it, and no layer is copied.
 *
 *   ffn_forward [-s SOCKET] [-n PASSES] [-p] MODEL
 *
 * Every pass begins with the same input. -p prints the output, one number per line. The rate of the
 * passes goes to standard error. Each output is summed up in the order of its inputs, so every
 * machine gets the same bits. */
#include <edgemind.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH_MAX = 1 << 16, ROWS = 8, WAIT_USEC = 10 * 1000000 };

/* One layer's tensors: weight [n_out, n_in] and bias [n_out]. */
struct linear {
    const float *weight, *bias;
    size_t n_in, n_out;
};

static struct linear find_linear(const struct edgemind_layer *layer)
{
    struct edgemind_tensor weight = {0}, bias = {0}, tensor;
    for (size_t i = 0; edgemind_layer_tensor(layer, i, &tensor) == 0; i++) {
        const char *dot = strrchr(tensor.name, '.');
        if (dot && strcmp(dot, ".weight") == 0)
            weight = tensor;
        else if (dot && strcmp(dot, ".bias") == 0)
            bias = tensor;
    }
    if (!weight.data || weight.n_dimensions != 2 || strcmp(weight.dtype, "F32") != 0 ||
        !bias.data || bias.n_dimensions != 1 || strcmp(bias.dtype, "F32") != 0 ||
        bias.shape[0] != weight.shape[0] || weight.shape[0] > WIDTH_MAX ||
        weight.shape[1] > WIDTH_MAX)
        errx(EXIT_FAILURE, "%s is no linear layer with a bias, in f32", edgemind_layer_name(layer));
    return (struct linear){weight.data, bias.data, weight.shape[1], weight.shape[0]};
}

/* Sums up several rows at a time, because a single sum would wait for each addition. */
static void forward(const struct linear *layer, const float *input, float *output)
{
    for (size_t row = 0; row < layer->n_out; row += ROWS) {
        size_t n = layer->n_out - row < ROWS ? layer->n_out - row : ROWS;
        const float *weight = layer->weight + row * layer->n_in;
        float sums[ROWS] = {0};
        for (size_t k = 0; k < layer->n_in; k++)
            for (size_t i = 0; i < n; i++)
                sums[i] += weight[i * layer->n_in + k] * input[k];
        for (size_t i = 0; i < n; i++) {
            float value = sums[i] + layer->bias[row + i];
            output[row + i] = value > 0 ? value : 0;
        }
    }
}

/* Goes through the model once. Returns the output, one of the two buffers, and its width. */
static const float *run_pass(struct edgemind *em, struct edgemind_run *run, float *buffers[2],
                             size_t *ret_width)
{
    size_t width = 0;
    for (uint64_t i = 0; i < edgemind_run_layers(run); i++) {
        struct edgemind_step step;
        if (edgemind_run_next(run, WAIT_USEC, &step) < 0)
            errx(EXIT_FAILURE, "%s", edgemind_error_text(em));
        struct linear layer = find_linear(step.layer);
        if (i == 0)
            for (width = 0; width < layer.n_in; width++)
                buffers[0][width] = (float)(width % 17) / 16 - 0.5F;
        if (width != layer.n_in)
            errx(EXIT_FAILURE, "%s takes %zu inputs, but the layer before it has %zu outputs",
                 edgemind_layer_name(step.layer), layer.n_in, width);
        forward(&layer, buffers[i % 2], buffers[(i + 1) % 2]);
        width = layer.n_out;
    }
    *ret_width = width;
    return buffers[edgemind_run_layers(run) % 2];
}

int main(int argc, char **argv)
{
    const char *socket = NULL;
    unsigned long n_passes = 1;
    int print = 0;
    for (int option; (option = getopt(argc, argv, "s:n:p")) != -1;) {
        if (option == 's')
            socket = optarg;
        else if (option == 'n')
            n_passes = strtoul(optarg, NULL, 10);
        else if (option == 'p')
            print = 1;
        else
            return 2;
    }
    if (optind != argc - 1 || n_passes == 0) {
        fprintf(stderr, "Usage: %s [-s SOCKET] [-n PASSES] [-p] MODEL\n", argv[0]);
        return 2;
    }

    static float first[WIDTH_MAX], second[WIDTH_MAX];
    float *buffers[2] = {first, second};
    const float *output = NULL;
    size_t width = 0;
    struct edgemind *em = edgemind_new();
    struct edgemind_run *run;
    if (!em || edgemind_connect(em, socket) < 0 || edgemind_run_begin(em, argv[optind], &run) < 0)
        errx(EXIT_FAILURE, "%s", edgemind_error_text(em));

    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (unsigned long i = 0; i < n_passes; i++)
        output = run_pass(em, run, buffers, &width);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    fprintf(stderr, "%lu passes in %.3f s, %.1f a second\n", n_passes, seconds,
            (double)n_passes / seconds);
    for (size_t i = 0; print && i < width; i++)
        printf("%.9g\n", (double)output[i]);

    edgemind_run_end(run);
    edgemind_free(em);
    return 0;
}
