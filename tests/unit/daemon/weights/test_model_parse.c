/* The files that models can be read from. test_model_parse_refused has the errors for others. */
#include "common/formats/shard_index.h"
#include "tests/unit/model_parse_fixture.h"
#include "tests/unit/run_suite.h"

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
    tcase_add_test(tcase, direct_descriptors);
    tcase_add_test(tcase, many_shards);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
