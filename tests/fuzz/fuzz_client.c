/* The input is what a program does with libedgemind, a letter for each call, up to the first
 * newline, and then what hostile_server.h needs. Whatever the daemon answers, each call returns in
 * time, all that the library hands out can be read, and nothing is left at the end. */
#include "client/library/edgemind.h"
#include "tests/fuzz/hostile_server.h"
#include "tests/unit/count_open.h"

enum { LAYERS_MAX = 8, RUNS_MAX = 4, CALLS_MAX = 24, TIMEOUT_USEC = 5000 };

struct program {
    struct edgemind *em;
    struct edgemind_layer *layers[LAYERS_MAX];
    struct edgemind_run *runs[RUNS_MAX];
    unsigned n_layers, n_runs;
    int definition;
};

static volatile unsigned char sink;

static void read_bytes(const unsigned char *data, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += 64)
        sink ^= data[i];
    if (n_bytes > 0)
        sink ^= data[n_bytes - 1];
}

static void read_layer(const struct edgemind_layer *layer)
{
    const unsigned char *data = edgemind_layer_data(layer);
    size_t n_bytes = edgemind_layer_bytes(layer);
    struct edgemind_tensor tensor;

    REQUIRE(edgemind_layer_name(layer) && edgemind_layer_model(layer) && n_bytes > 0);
    if (data)
        read_bytes(data, n_bytes);
    for (size_t i = 0; i < edgemind_layer_tensors(layer); i++) {
        REQUIRE(edgemind_layer_tensor(layer, i, &tensor) == 0);
        const unsigned char *begin = tensor.data;
        if (!data) /* units */
            read_bytes(begin, tensor.bytes);
        else
            REQUIRE(begin >= data && (size_t)(begin - data) <= n_bytes &&
                    tensor.bytes <= n_bytes - (size_t)(begin - data));
        for (size_t j = 0; j < tensor.n_dimensions; j++)
            sink ^= (unsigned char)tensor.shape[j];
        REQUIRE(tensor.dtype && edgemind_layer_find_tensor(layer, tensor.name, &tensor) == 0);
    }
}

static int next(struct program *program)
{
    struct edgemind_run *run = program->runs[program->n_runs - 1];
    struct edgemind_step step;
    int r = edgemind_run_next(run, 1, &step);

    if (r == 0) {
        REQUIRE(step.index < edgemind_run_layers(run));
        read_layer(step.layer);
    }
    return r;
}

static int load(struct program *program)
{
    char path[32], model[EDGEMIND_NAME_MAX + 1];

    snprintf(path, sizeof path, "/proc/self/fd/%d", program->definition);
    int r = edgemind_load(program->em, path, NULL, "ask", model);
    REQUIRE(r < 0 || memchr(model, '\0', sizeof model));
    return r;
}

static int call(struct program *program, char letter)
{
    int r = 0;

    switch (letter) {
    case 'a':
        if (program->n_layers < LAYERS_MAX)
            r = edgemind_acquire(program->em, "m", "l", 0, &program->layers[program->n_layers]);
        program->n_layers += program->n_layers < LAYERS_MAX && r == 0;
        break;
    case 'u':
        if (program->n_layers < LAYERS_MAX)
            r = edgemind_acquire_units(program->em, "m", "l", (const uint32_t[]){1, 5}, 2, 0,
                                       &program->layers[program->n_layers]);
        program->n_layers += program->n_layers < LAYERS_MAX && r == 0;
        break;
    case 'r':
        if (program->n_layers > 0)
            r = edgemind_release(program->layers[--program->n_layers]);
        break;
    case 'b':
        if (program->n_runs < RUNS_MAX)
            r = edgemind_run_begin(program->em, "m", &program->runs[program->n_runs]);
        program->n_runs += program->n_runs < RUNS_MAX && r == 0;
        break;
    case 'n':
        if (program->n_runs > 0)
            r = next(program);
        break;
    case 'e':
        if (program->n_runs > 0)
            r = edgemind_run_end(program->runs[--program->n_runs]);
        break;
    case 'c':
        r = edgemind_reconnect(program->em);
        break;
    case 'l':
        r = load(program);
        break;
    default:
        r = edgemind_check(program->em);
        break;
    }
    return r;
}

static void run_program(struct program *program, const uint8_t *letters, size_t n)
{
    for (size_t i = 0; i < n && i < CALLS_MAX; i++) {
        int r = call(program, (char)letters[i]);
        REQUIRE(r <= 0);
        if (r < 0) {
            REQUIRE(edgemind_error_text(program->em)[0]);
            REQUIRE(!edgemind_error_name(program->em) == !edgemind_error_parameters(program->em));
        }
        for (unsigned j = 0; j < program->n_layers; j++)
            read_layer(program->layers[j]);
    }
}

static int make_definition(void)
{
    static const char text[] = "{\"name\":\"m\",\"layers\":[{\"name\":\"l\",\"bytes\":4096}]}";
    int fd = memfd_create("definition.json", MFD_CLOEXEC);

    REQUIRE(write(fd, text, sizeof text - 1) == sizeof text - 1);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const uint8_t *end = n_bytes ? memchr(data, '\n', n_bytes) : NULL;
    static struct program program;
    struct hostile_server server;

    if (!end)
        return 0;
    size_t n_letters = (size_t)(end - data), n_open = count_open();
    hostile_start(&server, end + 1, n_bytes - n_letters - 1);
    program = (struct program){.em = edgemind_new(), .definition = make_definition()};
    REQUIRE(program.em);
    edgemind_set_timeout(program.em, TIMEOUT_USEC);
    if (edgemind_connect(program.em, server.address.sun_path) == 0)
        run_program(&program, data, n_letters);
    edgemind_free(program.em);
    close(program.definition);
    hostile_end(&server);
    REQUIRE(count_open() == n_open);
    return 0;
}
