/* A directory of definitions and weight files, and models that are read from it. The fixture checks
 * that no descriptor is left open. */
#pragma once

#include "daemon/weights/model_parse.h"
#include "tests/unit/count_open.h"
#include "tests/unit/weight_bytes.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define TENSOR(name, n, begin, end) \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":[" #n "],\"data_offsets\":[" #begin "," #end "]}"
#define WEIGHTED                                                                                \
    "{\"name\":\"m\",\"layers\":[{\"name\":\"l\",\"tensors\":[{\"name\":\"b\",\"dtype\":\"u8\"" \
    ",\"shape\":[6]}]},{\"name\":\"k\",\"tensors\":[{\"name\":\"a\",\"dtype\":\"u8\",\"shape\"" \
    ":[4]}]}],\"weights\":\"w.safetensors\"}"
#define INDEX "{\"weight_map\":{\"a\":\"1.st\",\"b\":\"1.st\",\"c\":\"sub/2.st\"}}"

static char directory[64];
static size_t n_open;

/* A file of `bytes` bytes; the rest after the header is a hole. */
static inline void write_file(const char *path, const struct bytes *bytes)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes->at, 1, bytes->n, file), bytes->n);
    ck_assert_int_eq(fflush(file), 0);
    ck_assert_int_eq(ftruncate(fileno(file), (off_t)bytes->size_bytes), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static inline void write_text(const char *path, const char *text)
{
    struct bytes bytes = {0};
    bytes_add(&bytes, text, strlen(text));
    write_file(path, &bytes);
    free(bytes.at);
}

static inline void write_safetensors(const char *path, const char *header, uint64_t n_data)
{
    struct bytes bytes = safetensors_bytes(header, n_data);
    write_file(path, &bytes);
    free(bytes.at);
}

static inline void write_gguf(const char *path, const char *name)
{
    struct bytes bytes = {0};
    gguf_header(&bytes, 3, 1, name ? 1 : 0);
    if (name) {
        gguf_key(&bytes, "general.name", GGUF_STRING);
        gguf_string(&bytes, name);
    }
    gguf_tensor(&bytes, "blk.0.w", 1, (const uint64_t[]){32}, 0, 0);
    gguf_data(&bytes, 32, 128);
    write_file(path, &bytes);
    free(bytes.at);
}

static inline void set_up(void)
{
    strcpy(directory, "/tmp/em-model-source-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
    ck_assert_int_eq(mkdir("sub", 0700), 0);
    write_text("plain.json", "{\"name\":\"p\",\"layers\":[{\"name\":\"l\",\"bytes\":9}]}");
    write_text("model.json", WEIGHTED);
    write_text("sub/model.json", WEIGHTED);
    write_safetensors("w.safetensors", "{" TENSOR("a", 4, 0, 4) "," TENSOR("b", 6, 4, 10) "}", 10);
    write_safetensors("sub/w.safetensors", "{" TENSOR("b", 6, 0, 6) "," TENSOR("a", 4, 6, 10) "}",
                      10);
    write_text("model.index.json", INDEX);
    write_safetensors("1.st", "{" TENSOR("a", 4, 0, 4) "," TENSOR("b", 6, 4, 10) "}", 10);
    write_safetensors("sub/2.st", "{" TENSOR("c", 5, 0, 5) "}", 5);
    write_gguf("named.gguf", "Named Model");
    write_gguf("nameless.gguf", NULL);
    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    n_open = count_open();
}

static inline void tear_down(void)
{
    static const char *const entries[] = {
        "plain.json",
        "model.json",
        "sub/model.json",
        "w.safetensors",
        "1.st",
        "sub/2.st",
        "model.index.json",
        "sub/w.safetensors",
        "named.gguf",
        "nameless.gguf",
        "fifo",
        "extra",
        "sub/link.json",
        "sub",
    };
    ck_assert_uint_eq(count_open(), n_open);
    for (unsigned i = 0; i < sizeof entries / sizeof entries[0]; i++)
        remove(entries[i]);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(directory), 0);
}

static inline int open_file(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "%s: %m", path);
    return fd;
}

static inline struct model_source from_text(const char *text)
{
    struct model_source source = MODEL_SOURCE_NONE;
    source.text = strdup(text);
    source.n_bytes = strlen(text);
    return source;
}

static inline struct model_source from_fd(int fd, const char *name)
{
    struct model_source source = MODEL_SOURCE_NONE;
    source.fd = fd;
    source.name = name ? strdup(name) : NULL;
    return source;
}

static inline struct model_source from_file(const char *path, const char *name)
{
    return from_fd(open_file(path, O_RDONLY), name);
}

static inline struct model_source from_path(const char *path)
{
    struct model_source source = MODEL_SOURCE_NONE;
    source.path = strdup(path);
    source.model_dir = strdup(".");
    return source;
}

static inline void add_weights(struct model_source *source, const char *path, int fd)
{
    source->weights = reallocarray(source->weights, source->n_weights + 1, sizeof *source->weights);
    ck_assert_ptr_nonnull(source->weights);
    source->weights[source->n_weights++] = (struct named_fd){strdup(path), fd};
}

/* Reads a model, and fails the test if it is refused. The caller owns the reference. */
static inline struct definition *accept_source(struct model_source source)
{
    struct model_read_result result;
    int r = model_parse(&source, &result);
    ck_assert_msg(r == 0, "%d: %s: %s: %s", r, result.operation, result.problem.path,
                  result.problem.message);
    model_source_done(&source);
    return result.definition;
}

/* Expects `error`; for -EBADMSG a message that contains `part`, else the operation `part`. */
static inline struct definition_problem refuse(struct model_source source, int error,
                                               const char *part)
{
    struct model_read_result result;
    int r = model_parse(&source, &result);
    const char *told = r == -EBADMSG ? result.problem.message : result.operation;
    ck_assert_msg(r == error, "%d, expected %d: %s", r, error, told);
    ck_assert_msg(strstr(told, part), "\"%s\" lacks \"%s\"", told, part);
    ck_assert_ptr_null(result.definition);
    model_source_done(&source);
    ck_assert_uint_eq(count_open(), n_open);
    return result.problem;
}

static inline struct model_source with_shards(struct model_source source)
{
    add_weights(&source, "sub/2.st", open_file("sub/2.st", O_RDONLY));
    add_weights(&source, "1.st", open_file("1.st", O_RDONLY));
    return source;
}
