/* The input is a program of calls that a hostile reader makes: each begins with a byte that chooses
 * the call, and takes bytes that choose its parameters, which are right most of the time. The
 * reader waits for each answer, so that later calls can name the views and leases that it was
 * given. */
#include "tests/fuzz/daemon.h"

enum { NAMES = 4, NAME_BYTES_MAX = 64, CALL_BYTES_MAX = 512 };

struct program {
    const uint8_t *data;
    size_t n_bytes;
    int weights;
    /* The latest ones that the daemon named, and texts that it did not. */
    char views[NAMES][NAME_BYTES_MAX], leases[NAMES][NAME_BYTES_MAX], file[NAME_BYTES_MAX];
    unsigned n_views, n_leases;
};

static unsigned take(struct program *program)
{
    if (program->n_bytes == 0)
        return 0;
    program->n_bytes--;
    return *program->data++;
}

static long long take_number(struct program *program)
{
    static const long long numbers[] = {0,     1,  14000, 16384,     5000,      4096,
                                        65536, -1, 1000,  INT64_MAX, INT64_MIN, INT32_MAX};
    unsigned choice = take(program);
    return choice < 128 ? (long long)choice * 64 : numbers[choice % (sizeof numbers / 8)];
}

#define CHOOSE(program, ...) \
    ((const char *const[]){  \
        __VA_ARGS__})[take(program) % (sizeof(const char *const[]){__VA_ARGS__} / 8)]

static const char *take_layer(struct program *program)
{
    return CHOOSE(program, "layers.0", "layers.1", "layers.0", "layers.1", "", "layers.2",
                  "\\u0000");
}

static const char *take_model(struct program *program)
{
    return CHOOSE(program, "m", "m", "m", "m", "m", "other", "", "\\ud800");
}

static void keep(char names[NAMES][NAME_BYTES_MAX], unsigned *n, const json_t *name)
{
    if (json_is_string(name))
        snprintf(names[(*n)++ % NAMES], NAME_BYTES_MAX, "%s", json_string_value(name));
}

static void remember(struct program *program, const json_t *reply)
{
    const json_t *parameters = json_object_get(reply, "parameters");
    const char *file = json_string_value(json_object_get(parameters, "file"));

    keep(program->views, &program->n_views, json_object_get(parameters, "view"));
    keep(program->leases, &program->n_leases, json_object_get(parameters, "lease"));
    if (file)
        snprintf(program->file, sizeof program->file, "%s", file);
}

static void make_call(struct program *program, char call[CALL_BYTES_MAX], int *fd)
{
    unsigned what = take(program);
    const char *view = program->views[take(program) % NAMES];
    const char *lease = program->leases[take(program) % NAMES];
    const char *layer = take_layer(program), *model = take_model(program);
    long long a = take_number(program), b = take_number(program);

#define SAY(method, parameters, ...) \
    snprintf(call, CALL_BYTES_MAX, FUZZ_CALL(method, parameters), __VA_ARGS__)
    switch (what % 12) {
    case 0:
        SAY("BeginView",
            "\"model\":\"%s\",\"program\":\"%s\",\"bytes\":%lld,\"outsideBytes\":%lld,\"file\":\"%"
            "s\"",
            model, layer, a, b, program->file);
        break;
    case 1:
        SAY("BeginView", "\"model\":\"%s\",\"program\":\"p\",\"bytes\":%lld,\"outsideBytes\":%lld",
            model, a, b);
        break;
    case 2:
        SAY("UpdateView", "\"view\":\"%s\",\"outsideBytes\":%lld", view, a);
        break;
    case 3:
        SAY("EndView", "\"view\":\"%s\"", view);
        break;
    case 4:
        *fd = program->weights;
        snprintf(call, CALL_BYTES_MAX,
                 "{\"method\":\"io.edgemind.manager.FindModel\",\"more\":true,\"parameters\":"
                 "{\"fileDescriptor\":%d}}",
                 a % 5 == 1);
        break;
    case 5:
    case 6:
    case 7:
        SAY("Acquire", "\"model\":\"%s\",\"layer\":\"%s\",\"view\":\"%s\",\"fill\":%lld", model,
            layer, view, a);
        break;
    case 8:
        SAY("Acquire", "\"model\":\"%s\",\"layer\":\"%s\",\"view\":\"%s\",\"waitUsec\":%lld", model,
            layer, view, a % 100);
        break;
    case 9:
        SAY("Release", "\"lease\":\"%s\"", lease);
        break;
    case 10:
        SAY("Views", "%s", "");
        break;
    default:
        SAY("UnloadLayer", "\"model\":\"%s\",\"layer\":\"%s\"", model, layer);
        break;
    }
}

static void attack(struct fuzz_client *hostile, struct fuzz_client *honest, void *context)
{
    struct program *program = context;
    json_t *reply =
        fuzz_call(honest, FUZZ_CALL("LoadModel", "\"name\":\"m\",\"definitionFileDescriptor\":0"),
                  program->weights);
    bool continues;

    REQUIRE(reply && !json_object_get(reply, "error"));
    json_decref(reply);
    while (program->n_bytes > 0) {
        char call[CALL_BYTES_MAX];
        int fd = -1;
        continues = false;
        make_call(program, call, &fd);
        reply = fuzz_call(hostile, call, fd);
        while (reply) {
            remember(program, reply);
            continues = json_is_true(json_object_get(reply, "continues"));
            json_decref(reply);
            reply = continues ? fuzz_next_reply(hostile) : NULL;
        }
        if (continues || hostile->has_ended)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct program program = {data, n_bytes, fuzz_weight_file(), {"x"}, {"x"}, "x", 0, 0};

    fuzz_daemon(attack, &program);
    close(program.weights);
    return 0;
}
