/* The files that models can be read from, the errors for others, and that no descriptor is ever
 * left open. */
#include "daemon/weights/model_parse.h"

#include "common/formats/shard_index.h"
#include "tests/unit/count_open.h"
#include "tests/unit/run_suite.h"
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
static void write_file(const char *path, const struct bytes *bytes)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes->at, 1, bytes->n, file), bytes->n);
    ck_assert_int_eq(fflush(file), 0);
    ck_assert_int_eq(ftruncate(fileno(file), (off_t)bytes->size_bytes), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void write_text(const char *path, const char *text)
{
    struct bytes bytes = {0};
    bytes_add(&bytes, text, strlen(text));
    write_file(path, &bytes);
    free(bytes.at);
}

static void write_safetensors(const char *path, const char *header, uint64_t n_data)
{
    struct bytes bytes = safetensors_bytes(header, n_data);
    write_file(path, &bytes);
    free(bytes.at);
}

static void write_gguf(const char *path, const char *name)
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

static void set_up(void)
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

static void tear_down(void)
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

static int open_file(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "%s: %m", path);
    return fd;
}

static struct model_source from_text(const char *text)
{
    struct model_source source = MODEL_SOURCE_NONE;
    source.text = strdup(text);
    source.n_bytes = strlen(text);
    return source;
}

static struct model_source from_fd(int fd, const char *name)
{
    struct model_source source = MODEL_SOURCE_NONE;
    source.fd = fd;
    source.name = name ? strdup(name) : NULL;
    return source;
}

static struct model_source from_file(const char *path, const char *name)
{
    return from_fd(open_file(path, O_RDONLY), name);
}

static struct model_source from_path(const char *path)
{
    struct model_source source = MODEL_SOURCE_NONE;
    source.path = strdup(path);
    source.model_dir = strdup(".");
    return source;
}

static void add_weights(struct model_source *source, const char *path, int fd)
{
    source->weights = reallocarray(source->weights, source->n_weights + 1, sizeof *source->weights);
    ck_assert_ptr_nonnull(source->weights);
    source->weights[source->n_weights++] = (struct named_fd){strdup(path), fd};
}

/* Reads a model, and fails the test if it is refused. The caller owns the reference. */
static struct definition *accept_source(struct model_source source)
{
    struct model_read_result result;
    int r = model_parse(&source, &result);
    ck_assert_msg(r == 0, "%d: %s: %s: %s", r, result.operation, result.problem.path,
                  result.problem.message);
    model_source_done(&source);
    return result.definition;
}

/* Expects `error`; for -EBADMSG a message that contains `part`, else the operation `part`. */
static struct definition_problem refuse(struct model_source source, int error, const char *part)
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

START_TEST(definition_without_weights)
{
    struct definition *definition =
        accept_source(from_text("{\"name\":\"p\",\"layers\":[{\"name\":\"l\",\"bytes\":9}]}"));
    ck_assert_str_eq(definition->name, "p");
    ck_assert_uint_eq(definition->n_files, 0);
    definition_unref(definition);
    /* A definition has its own name; the descriptor is not kept. */
    definition = accept_source(from_file("plain.json", "given"));
    ck_assert_str_eq(definition->name, "p");
    ck_assert_uint_eq(count_open(), n_open);
    definition_unref(definition);
    definition_unref(accept_source(from_path("plain.json")));
}
END_TEST

static void check_weighted(struct definition *definition, const char *path, uint64_t data)
{
    ck_assert_str_eq(definition->name, "m");
    ck_assert_uint_eq(definition->n_files, 1);
    ck_assert_str_eq(definition->files[0].path, path);
    ck_assert_uint_eq(count_open(), n_open + 1);
    ck_assert_uint_eq(definition->layers[0].n_pieces, 1);
    ck_assert_uint_eq(definition->layers[0].pieces[0].bytes, 6);
    ck_assert_uint_eq(definition->layers[0].pieces[0].file_offset_bytes,
                      definition->files[0].bytes - 10 + data);
    definition_unref(definition);
}

START_TEST(definition_with_weights)
{
    struct model_source source = from_text(WEIGHTED);
    add_weights(&source, "w.safetensors", open_file("w.safetensors", O_RDONLY));
    check_weighted(accept_source(source), "w.safetensors", 4);

    /* Descriptors that are not needed are closed; if a name occurs twice, the first counts. */
    source = from_file("model.json", NULL);
    add_weights(&source, "other", open_file("fifo", O_RDWR));
    add_weights(&source, "w.safetensors", open_file("w.safetensors", O_RDONLY));
    add_weights(&source, "w.safetensors", open_file("1.st", O_RDONLY));
    check_weighted(accept_source(source), "w.safetensors", 4);

    /* Below model-dir the daemon looks beside the definition. */
    check_weighted(accept_source(from_path("model.json")), "w.safetensors", 4);
    check_weighted(accept_source(from_path("sub/model.json")), "w.safetensors", 0);
    check_weighted(accept_source(from_path("./sub//model.json")), "w.safetensors", 0);
}
END_TEST

START_TEST(weight_files)
{
    struct definition *definition = accept_source(from_file("w.safetensors", "given/name"));
    ck_assert_str_eq(definition->name, "given-name");
    ck_assert_uint_eq(definition->n_layers, 2);
    ck_assert_str_eq(definition->files[0].path, "given/name");
    ck_assert_uint_eq(count_open(), n_open + 1);
    definition_unref(definition);

    definition = accept_source(from_path("sub/w.safetensors"));
    ck_assert_str_eq(definition->name, "w");
    ck_assert_str_eq(definition->files[0].path, "sub/w.safetensors");
    definition_unref(definition);

    definition = accept_source(from_file("named.gguf", NULL));
    ck_assert_str_eq(definition->name, "Named Model");
    definition_unref(definition);
    definition = accept_source(from_file("named.gguf", "given"));
    ck_assert_str_eq(definition->name, "given");
    definition_unref(definition);

    refuse(from_file("nameless.gguf", NULL), -EBADMSG, "name");
    refuse(from_file("w.safetensors", NULL), -EBADMSG, "name");
}
END_TEST

static struct model_source with_shards(struct model_source source)
{
    add_weights(&source, "sub/2.st", open_file("sub/2.st", O_RDONLY));
    add_weights(&source, "1.st", open_file("1.st", O_RDONLY));
    return source;
}

START_TEST(index_files)
{
    for (int i = 0; i < 3; i++) {
        struct model_source source = i == 0   ? with_shards(from_file("model.index.json", "m"))
                                     : i == 1 ? from_path("model.index.json")
                                              : with_shards(from_text(INDEX));
        if (i == 2)
            source.name = strdup("m");
        struct definition *definition = accept_source(source);
        ck_assert_str_eq(definition->name, i == 1 ? "model.index" : "m");
        ck_assert_uint_eq(definition->n_files, 2);
        ck_assert_str_eq(definition->files[0].path, "1.st");
        ck_assert_str_eq(definition->files[1].path, "sub/2.st");
        ck_assert_uint_eq(definition->n_layers, 3);
        ck_assert_uint_eq(definition->bytes, 15);
        int64_t c = definition_find_layer(definition, "c");
        ck_assert_int_ge(c, 0);
        ck_assert_uint_eq(definition->layers[c].pieces[0].source, 1);
        definition_unref(definition);
        ck_assert_uint_eq(count_open(), n_open);
    }
}
END_TEST

START_TEST(files_that_did_not_come)
{
    refuse(from_text(WEIGHTED), -EBADMSG, "w.safetensors: this weight file did not come");
    refuse(from_file("model.index.json", "m"), -EBADMSG, "1.st: this weight file did not come");
    struct model_source source = from_file("model.index.json", "m");
    add_weights(&source, "1.st", open_file("1.st", O_RDONLY));
    refuse(source, -EBADMSG, "sub/2.st: this weight file did not come");
    source = from_text(WEIGHTED);
    add_weights(&source, "./w.safetensors", open_file("w.safetensors", O_RDONLY));
    refuse(source, -EBADMSG, "did not come");

    ck_assert_int_eq(unlink("sub/w.safetensors"), 0);
    refuse(from_path("sub/model.json"), -EBADMSG, "w.safetensors: there is no such weight file");
    ck_assert_int_eq(unlink("sub/2.st"), 0);
    refuse(from_path("model.index.json"), -EBADMSG, "sub/2.st: there is no such weight file");
    refuse(from_path("nothing.json"), -ENOENT, "open");
    refuse(from_path("../em"), -EBADMSG, "../em: must be a path below model-dir");
    refuse(from_path("fifo"), -EBADMSG, "fifo: must be a regular file");
    /* A weight file beside the definition must not lead out, either. */
    ck_assert_int_eq(symlink("/etc/passwd", "sub/w.safetensors"), 0);
    refuse(from_path("sub/model.json"), -EBADMSG, "symbolic link");
}
END_TEST

START_TEST(tensors_that_do_not_fit)
{
    /* The index names a tensor that the file does not have. */
    write_safetensors("1.st", "{" TENSOR("a", 4, 0, 4) "}", 4);
    struct definition_problem problem =
        refuse(with_shards(from_file("model.index.json", "m")), -EBADMSG, "1.st does not hold");
    ck_assert_str_eq(problem.path, "b");

    /* The same tensor in two files. */
    write_safetensors("1.st", "{" TENSOR("a", 4, 0, 4) "," TENSOR("b", 6, 4, 10) "}", 10);
    write_safetensors("sub/2.st", "{" TENSOR("c", 5, 0, 5) "," TENSOR("a", 1, 5, 6) "}", 6);
    problem = refuse(with_shards(from_file("model.index.json", "m")), -EBADMSG, "two of the");
    ck_assert_str_eq(problem.path, "a");

    /* Another shape than the definition's, or none at all. */
    struct model_source source = from_text(WEIGHTED);
    add_weights(&source, "w.safetensors", open_file("sub/2.st", O_RDONLY));
    problem = refuse(source, -EBADMSG, "");
    ck_assert_str_eq(problem.path, "layers[0].tensors[0]");
    write_safetensors("w.safetensors", "{" TENSOR("a", 5, 0, 5) "," TENSOR("b", 6, 5, 11) "}", 11);
    problem = refuse(from_path("model.json"), -EBADMSG, "U8 [5]");
    ck_assert_str_eq(problem.path, "layers[1].tensors[0]");
}
END_TEST

START_TEST(bad_headers_name_the_file)
{
    write_safetensors("w.safetensors", "{" TENSOR("a", 4, 0, 4) "," TENSOR("b", 6, 2, 8) "}", 8);
    struct definition_problem problem =
        refuse(from_path("model.json"), -EBADMSG, "w.safetensors: ");
    ck_assert_str_eq(problem.path, "b");
    problem = refuse(from_path("w.safetensors"), -EBADMSG, "w.safetensors: ");
    ck_assert_str_eq(problem.path, "b");
    write_safetensors("sub/2.st", "{", 0);
    refuse(from_path("model.index.json"), -EBADMSG, "sub/2.st: ");
    write_text("extra", "GGUF");
    refuse(from_path("extra"), -EBADMSG, "extra: ");
    write_text("w.safetensors", "{\"name\":\"no weights\"}");
    refuse(from_path("model.json"), -EBADMSG, "w.safetensors: ");

    /* With the longest possible name the reason is still readable. */
    char path[PATH_MAX];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    problem = refuse(from_fd(open_file("sub/2.st", O_RDONLY), path), -EBADMSG, "xxx: ");
    ck_assert_str_eq(problem.path, "header");
}
END_TEST

START_TEST(not_a_readable_regular_file)
{
    static const struct {
        const char *path;
        int flags;
    } opens[] = {
        {"fifo", O_RDWR},      {"fifo", O_PATH},         {"sub", O_RDONLY | O_DIRECTORY},
        {"/dev/null", O_RDWR}, {"/dev/zero", O_RDONLY},  {"1.st", O_WRONLY},
        {"1.st", O_PATH},      {"plain.json", O_WRONLY}, {"plain.json", O_PATH},
    };
    for (int i = 0; i < COUNT(opens); i++) {
        struct definition_problem problem = refuse(
            from_fd(open_file(opens[i].path, opens[i].flags), "m"), -EBADMSG,
            strcmp(opens[i].path, "1.st") && strcmp(opens[i].path, "plain.json") ? "regular"
                                                                                 : "for reading");
        ck_assert_uint_eq(problem.line, 0);
        struct model_source source = from_text(WEIGHTED);
        add_weights(&source, "w.safetensors", open_file(opens[i].path, opens[i].flags));
        refuse(source, -EBADMSG, "w.safetensors: ");
    }
}
END_TEST

START_TEST(sizes_of_text)
{
    struct bytes bytes = {0};

    write_text("extra", "");
    refuse(from_path("extra"), -EBADMSG, "");
    bytes_add(&bytes, "{\"name\":", 8);
    bytes.size_bytes = DEFINITION_BYTES_MAX + 1;
    write_file("extra", &bytes);
    refuse(from_path("extra"), -EBADMSG, "16 MiB");
    bytes.size_bytes = UINT64_C(1) << 40;
    write_file("extra", &bytes);
    refuse(from_path("extra"), -EBADMSG, "16 MiB");
    free(bytes.at);
}
END_TEST

/* A client may have opened its file with O_DIRECT, and the loader sets it on a descriptor that a
 * later call brings again. */
START_TEST(direct_descriptors)
{
    static const char *const files[] = {"plain.json", "1.st", "named.gguf"};
    for (int i = 0; i < COUNT(files); i++) {
        int fd = open(files[i], O_RDONLY | O_CLOEXEC | O_DIRECT);
        if (fd < 0) {
            ck_assert_int_eq(errno, EINVAL);
            puts("SKIP: O_DIRECT: not on this file system");
            return;
        }
        definition_unref(accept_source(from_fd(fd, "m")));
    }
    struct model_source source = from_text(WEIGHTED);
    add_weights(&source, "w.safetensors", open_file("w.safetensors", O_RDONLY | O_DIRECT));
    definition_unref(accept_source(source));
}
END_TEST

/* A message is cut between characters, whatever the names are. */
START_TEST(messages_are_text)
{
    char path[256], text[600];
    for (int n = 90; n < 110; n++) {
        memset(path, 'x', sizeof path);
        for (int i = n; i < n + 20; i += 2)
            memcpy(path + i, "\xc3\xa9", 2);
        path[n + 20] = '\0';
        snprintf(text, sizeof text, "{\"weight_map\":{\"%s\":\"%s\"}}", path, path);
        struct definition_problem problems[4] = {
            refuse(from_text(text), -EBADMSG, ": this weight file did not come"),
            refuse(from_fd(open_file("1.st", O_WRONLY), path), -EBADMSG, "for reading"),
        };
        struct model_source source = from_text(text);
        add_weights(&source, path, open_file("1.st", O_RDONLY));
        problems[2] = refuse(source, -EBADMSG, "does not hold");
        source = from_text(text);
        add_weights(&source, path, open_file("plain.json", O_RDONLY));
        problems[3] = refuse(source, -EBADMSG, ": ");
        for (int i = 0; i < COUNT(problems); i++) {
            json_t *json = json_pack("[s, s]", problems[i].path, problems[i].message);
            ck_assert_msg(json != NULL, "%d: %s", i, problems[i].message);
            json_decref(json);
        }
    }
}
END_TEST

/* The most that one index may name. */
START_TEST(many_shards)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);
    ck_assert_ptr_nonnull(stream);
    fputs("{\"weight_map\":{", stream);
    for (int i = 0; i < SHARD_INDEX_FILES_MAX; i++)
        fprintf(stream, "%s\"t%d\":\"f%d\"", i ? "," : "", i, i);
    fputs("}}", stream);
    ck_assert_int_eq(fclose(stream), 0);
    struct model_source source = from_text(text);
    free(text);
    source.name = strdup("m");
    for (int i = 0; i < SHARD_INDEX_FILES_MAX; i++) {
        char path[16], header[128];
        snprintf(path, sizeof path, "f%d", i);
        snprintf(header, sizeof header,
                 "{\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", i);
        write_safetensors(path, header, 1);
        add_weights(&source, path, open_file(path, O_RDONLY));
        ck_assert_int_eq(unlink(path), 0);
    }
    struct definition *definition = accept_source(source);
    ck_assert_uint_eq(definition->n_files, SHARD_INDEX_FILES_MAX);
    ck_assert_uint_eq(definition->n_layers, SHARD_INDEX_FILES_MAX);
    definition_unref(definition);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_parse");
    TCase *tcase = tcase_create("model_parse");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, definition_without_weights);
    tcase_add_test(tcase, definition_with_weights);
    tcase_add_test(tcase, weight_files);
    tcase_add_test(tcase, index_files);
    tcase_add_test(tcase, files_that_did_not_come);
    tcase_add_test(tcase, tensors_that_do_not_fit);
    tcase_add_test(tcase, bad_headers_name_the_file);
    tcase_add_test(tcase, not_a_readable_regular_file);
    tcase_add_test(tcase, sizes_of_text);
    tcase_add_test(tcase, direct_descriptors);
    tcase_add_test(tcase, messages_are_text);
    tcase_add_test(tcase, many_shards);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
