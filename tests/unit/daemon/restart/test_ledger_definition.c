/* Definitions in the ledger: every kind is restored without a change.
 * test_ledger_definition_damage tests any other content. */
#include "tests/unit/ledger_definition_fixture.h"
#include "tests/unit/run_suite.h"

static struct definition *from_text(const char *text)
{
    return read_source(
        (struct model_source){.fd = -1, .text = strdup(text), .n_bytes = strlen(text)});
}

static void assert_same(const struct definition *a, const struct definition *b)
{
    ck_assert_str_eq(a->name, b->name);
    ck_assert_pstr_eq(a->weights, b->weights);
    ck_assert_uint_eq(a->n_layers, b->n_layers);
    ck_assert_uint_eq(a->n_files, b->n_files);
    ck_assert_uint_eq(a->bytes, b->bytes);
    for (uint32_t i = 0; i < a->n_layers; i++) {
        const struct layer_definition *x = &a->layers[i], *y = &b->layers[i];
        REQUIRE(a->by_name[i] == b->by_name[i]);
        REQUIRE(strcmp(x->name, y->name) == 0 && x->bytes == y->bytes);
        REQUIRE(x->shift_bytes == y->shift_bytes);
        REQUIRE(x->n_tensors == y->n_tensors && x->n_pieces == y->n_pieces);
        REQUIRE(!x->pieces == !y->pieces && !x->tensors == !y->tensors);
        for (uint32_t j = 0; j < x->n_tensors; j++) {
            const struct tensor *s = &x->tensors[j], *t = &y->tensors[j];
            REQUIRE(strcmp(s->name, t->name) == 0 && s->type == t->type);
            REQUIRE(s->offset_bytes == t->offset_bytes && s->bytes == t->bytes);
            REQUIRE(s->n_dims == t->n_dims);
            for (unsigned k = 0; k < s->n_dims; k++)
                REQUIRE(s->shape[k] == t->shape[k]);
        }
        for (uint32_t j = 0; j < x->n_pieces; j++) {
            const struct piece *s = &x->pieces[j], *t = &y->pieces[j];
            REQUIRE(s->file_offset_bytes == t->file_offset_bytes && s->bytes == t->bytes);
            REQUIRE(s->layer_offset_bytes == t->layer_offset_bytes && s->source == t->source);
        }
    }
    for (uint32_t i = 0; i < a->n_files; i++) {
        ck_assert_str_eq(a->files[i].path, b->files[i].path);
        ck_assert_uint_eq(a->files[i].bytes, b->files[i].bytes);
        ck_assert_int_eq(a->files[i].modified.tv_sec, b->files[i].modified.tv_sec);
        ck_assert_int_eq(a->files[i].modified.tv_nsec, b->files[i].modified.tv_nsec);
        ck_assert_int_eq(a->files[i].status_changed.tv_sec, b->files[i].status_changed.tv_sec);
        ck_assert_int_eq(a->files[i].status_changed.tv_nsec, b->files[i].status_changed.tv_nsec);
    }
}

/* Returns its size. */
static uint64_t go_round(struct definition *definition)
{
    _cleanup_(definition_unrefp) struct definition *original = definition, *copy = NULL;
    _cleanup_(freep) struct ledger_source *sources = NULL;
    uint64_t n_bytes;
    uint32_t crc;
    _cleanup_(closep) int fd = write_down(original, &n_bytes, &crc);
    ck_assert_int_eq(ledger_definition_read(fd, FIRST_BYTE, n_bytes, crc, &copy, &sources), 0);
    assert_same(original, copy);
    for (uint32_t i = 0; i < original->n_files; i++) {
        struct stat status;
        ck_assert_int_eq(fstat(original->files[i].fd, &status), 0);
        ck_assert_int_eq(copy->files[i].fd, -1);
        ck_assert_uint_eq(sources[i].device, (uint64_t)status.st_dev);
        ck_assert_uint_eq(sources[i].inode, (uint64_t)status.st_ino);
    }
    for (uint32_t i = 0; i < original->n_layers; i++)
        REQUIRE(definition_find_layer(copy, original->layers[i].name) == i);
    return n_bytes;
}

START_TEST(test_kinds)
{
    go_round(from_text("{\"name\":\"one\",\"layers\":[{\"name\":\"l\",\"bytes\":1}]}"));
    go_round(from_text(
        "{\"name\":\"large\",\"layers\":[{\"name\":\"z\",\"bytes\":1099511627776},"
        "{\"name\":\"a\",\"type\":\"linear\",\"in_features\":1024,\"out_features\":2048},"
        "{\"name\":\"m\",\"type\":\"lstm\",\"input_size\":3,\"hidden_size\":5,\"num_layers\":2},"
        "{\"name\":\"t\",\"tensors\":[{\"name\":\"t\",\"dtype\":\"q4_k\",\"shape\":[256]}]}]}"));
    struct definition *definition = from_file();
    ck_assert_uint_eq(definition->n_files, 1);
    ck_assert_uint_eq(definition->layers[0].n_pieces, 2);
    go_round(definition);
}
END_TEST

START_TEST(test_bound)
{
    static const char text[] = "{\"name\":\"m\",\"weights\":\"w\",\"layers\":[{\"name\":\"l\","
                               "\"tensors\":[{\"name\":\"x\",\"dtype\":\"u8\",\"shape\":[7]}]}]}";
    struct named_fd *weights = calloc(1, sizeof *weights);
    *weights = (struct named_fd){
        strdup("w"),
        weights_file("{\"x\":{\"dtype\":\"U8\",\"shape\":[7],\"data_offsets\":[0,7]}}", 7)};
    struct definition *definition = read_source((struct model_source){.fd = -1,
                                                                      .text = strdup(text),
                                                                      .n_bytes = strlen(text),
                                                                      .weights = weights,
                                                                      .n_weights = 1});
    ck_assert_str_eq(definition->weights, "w");
    go_round(definition);
}
END_TEST

/* Longer than any buffer, and no longer than it must be. */
START_TEST(test_long)
{
    enum { MANY = 100000 };
    uint64_t *bytes = calloc(MANY, sizeof *bytes);
    for (size_t i = 0; i < MANY; i++)
        bytes[i] = 1 + i;
    uint64_t n_bytes = go_round(define("many", bytes, MANY));
    ck_assert_uint_le(n_bytes, MANY * 16);
    free(bytes);
}
END_TEST

START_TEST(test_write_fails)
{
    struct definition *definition = from_file();
    uint64_t n_bytes = 77;
    uint32_t crc = 77;
    ck_assert_int_eq(ledger_definition_write(-1, 0, definition, &n_bytes, &crc), -EBADF);
    /* A source that does not exist is refused. */
    close(definition->files[0].fd);
    definition->files[0].fd = -1;
    int fd = memfd_create("definition", MFD_CLOEXEC);
    ck_assert_int_eq(ledger_definition_write(fd, 0, definition, &n_bytes, &crc), -EBADF);
    ck_assert_uint_eq(n_bytes, 77);
    ck_assert_uint_eq(crc, 77);
    close(fd);
    definition_unref(definition);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger_definition");
    TCase *tcase = tcase_create("ledger_definition");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_kinds);
    tcase_add_test(tcase, test_bound);
    tcase_add_test(tcase, test_long);
    tcase_add_test(tcase, test_write_fails);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
