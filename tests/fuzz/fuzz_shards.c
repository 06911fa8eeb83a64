/* The input is a model in several files: for each file a byte that chooses its name and kind, two
 * bytes for its length, and its bytes. A definition or index comes as text. The length of a
 * safetensors header, and the magic number of GGUF, are added here, as in the targets of these
 * formats. The first file is the one that is loaded; the others are its weight files. What is
 * accepted keeps the promises of weights.h, and no descriptor stays open. */
#include "daemon/weights/model_parse.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/weights.h"
#include "tests/unit/count_open.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { FILES_MAX = 8, HOLE_BYTES = 4096 };

enum kind { TEXT, SAFETENSORS, GGUF };

static const struct {
    const char *name;
    enum kind kind;
} names[] = {
    {"model.safetensors.index.json", TEXT},
    {"model-00001-of-00002.safetensors", SAFETENSORS},
    {"model-00002-of-00002.safetensors", SAFETENSORS},
    {"w.safetensors", SAFETENSORS},
    {"x-00001-of-00003.gguf", GGUF},
    {"x-00002-of-00003.gguf", GGUF},
    {"x-00003-of-00003.gguf", GGUF},
    {"sub/w.gguf", GGUF},
};

static int make_file(unsigned name, const uint8_t *data, size_t n_bytes)
{
    const char *base = strrchr(names[name].name, '/');
    int fd = memfd_create(base ? base + 1 : names[name].name, MFD_CLOEXEC);
    const uint8_t *newline = n_bytes > 0 ? memrchr(data, '\n', n_bytes) : NULL;
    uint64_t n_header = newline ? (uint64_t)(newline - data) + 1 : n_bytes;

    REQUIRE(fd >= 0);
    if (names[name].kind == SAFETENSORS)
        REQUIRE(write(fd, &n_header, sizeof n_header) == sizeof n_header);
    else if (names[name].kind == GGUF)
        REQUIRE(write(fd, "GGUF", 4) == 4);
    if (n_bytes > 0)
        REQUIRE(write(fd, data, n_bytes) == (ssize_t)n_bytes);
    off_t end = lseek(fd, 0, SEEK_CUR);
    /* The tensors' bytes, so that tables of contents can be right. */
    REQUIRE(names[name].kind == TEXT || ftruncate(fd, end + HOLE_BYTES) == 0);
    return fd;
}

static struct model_source make_source(const uint8_t *data, size_t n_bytes)
{
    struct model_source source = MODEL_SOURCE_NONE;

    source.weights = calloc(FILES_MAX, sizeof *source.weights);
    REQUIRE(source.weights);
    for (unsigned i = 0; i <= FILES_MAX && n_bytes >= 3; i++) {
        unsigned name = data[0] % (sizeof names / sizeof names[0]);
        size_t n = data[1] | (size_t)data[2] << 8;
        if (n > n_bytes - 3)
            n = n_bytes - 3;
        int fd = make_file(name, data + 3, n);
        if (i == 0) {
            source.fd = fd;
            source.name = data[0] & 128 ? strdup("given") : NULL;
        } else {
            source.weights[source.n_weights++] = (struct named_fd){strdup(names[name].name), fd};
        }
        data += 3 + n;
        n_bytes -= 3 + n;
    }
    return source;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    size_t n_open = count_open();
    struct model_read_result result;

    if (n_bytes < 3)
        return 0;
    struct model_source source = make_source(data, n_bytes);
    int r = model_parse(&source, &result);
    model_source_done(&source);
    REQUIRE(r == 0 || !result.definition);
    if (r == -EBADMSG)
        fuzz_check_problem(r, &result.problem);
    else if (r < 0)
        REQUIRE(result.operation);
    if (r == 0) {
        const struct definition *definition = result.definition;
        if (definition->n_files > 0)
            fuzz_check_definition(definition);
        for (uint32_t i = 0; i < definition->n_layers; i++)
            for (uint32_t j = 0; j < definition->layers[i].n_pieces; j++)
                REQUIRE(definition->layers[i].pieces[j].source < definition->n_files);
        definition_unref(result.definition);
    }
    REQUIRE(count_open() == n_open);
    return 0;
}
