/* Damaged definitions in the ledger, made by hand or random: each is refused or harmless. */
#include "daemon/restart/crc32c.h"
#include "tests/unit/case_step.h"
#include "tests/unit/ledger_definition_fixture.h"
#include "tests/unit/run_suite.h"

/* The parts of a layer that the loader and the clients use. */
static void check_harmless(const struct definition *definition)
{
    uint64_t total = 0;
    REQUIRE(definition->n_layers > 0 && definition->name[0] != '\0');
    for (uint32_t i = 0; i < definition->n_layers; i++) {
        const struct layer_definition *layer = &definition->layers[i];
        uint64_t end = 0;
        REQUIRE(layer->bytes > 0 && layer->shift_bytes < piece_align_bytes());
        REQUIRE(!__builtin_add_overflow(total, layer->bytes, &total));
        for (uint32_t j = 0; j < layer->n_tensors; j++) {
            const struct tensor *tensor = &layer->tensors[j];
            REQUIRE(tensor->offset_bytes <= layer->bytes);
            REQUIRE(tensor->bytes <= layer->bytes - tensor->offset_bytes);
        }
        for (uint32_t j = 0; j < layer->n_pieces; j++) {
            const struct piece *piece = &layer->pieces[j];
            uint64_t begin = layer->shift_bytes + piece->layer_offset_bytes;
            REQUIRE(piece->source < definition->n_files && piece->bytes > 0);
            REQUIRE(begin % piece_align_bytes() == piece->file_offset_bytes % piece_align_bytes());
            REQUIRE(piece->layer_offset_bytes <= layer->bytes);
            REQUIRE(piece->bytes <= layer->bytes - piece->layer_offset_bytes);
            uint64_t file_bytes = definition->files[piece->source].bytes;
            REQUIRE(piece->file_offset_bytes <= file_bytes);
            REQUIRE(piece->bytes <= file_bytes - piece->file_offset_bytes);
            REQUIRE(begin / piece_align_bytes() * piece_align_bytes() >= end);
            end = (begin + piece->bytes + piece_align_bytes() - 1) / piece_align_bytes() *
                  piece_align_bytes();
        }
    }
    REQUIRE(definition->bytes == total);
}

/* With the right checksum. */
static int read_bytes(const struct bytes *bytes, struct definition **ret)
{
    struct ledger_source *sources;
    int fd = memfd_create("definition", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && pwrite(fd, bytes->at, bytes->n, 0) == (ssize_t)bytes->n);
    int r = ledger_definition_read(fd, 0, bytes->n, crc32c(0, bytes->at, bytes->n), ret, &sources);
    if (r == 0)
        free(sources);
    close(fd);
    return r;
}

static struct bytes written(struct definition *definition)
{
    struct bytes bytes = {0};
    uint64_t n_bytes;
    uint32_t crc;
    int fd = write_down(definition, &n_bytes, &crc);
    struct image image = image_take(fd);
    bytes_add(&bytes, image.at + FIRST_BYTE, (size_t)n_bytes);
    free(image.at);
    close(fd);
    definition_unref(definition);
    return bytes;
}

START_TEST(test_damaged)
{
    struct definition *copy;
    struct ledger_source *sources;
    uint64_t n_bytes;
    uint32_t crc;
    struct definition *definition = from_file();
    int fd = write_down(definition, &n_bytes, &crc);
    ck_assert_int_eq(ledger_definition_read(fd, FIRST_BYTE, n_bytes, crc + 1, &copy, &sources),
                     -EBADMSG);
    ck_assert_int_eq(ledger_definition_read(fd, FIRST_BYTE, n_bytes + 1, crc, &copy, &sources),
                     -EBADMSG);
    ck_assert_int_eq(ledger_definition_read(-1, FIRST_BYTE, n_bytes, crc, &copy, &sources), -EBADF);
    close(fd);
    struct bytes bytes = written(definition);
    for (; bytes.n > 0; bytes.n--) {
        int r = read_bytes(&bytes, &copy);
        REQUIRE(r == 0 ? bytes.n == n_bytes : r == -EBADMSG && bytes.n < n_bytes);
        if (r == 0)
            definition_unref(copy);
    }
    free(bytes.at);
}
END_TEST

/* Two layers of a file, made by hand, so that a test can damage each part. */
struct handmade {
    uint64_t shapes[2];
    struct tensor tensors[2];
    struct piece pieces[2];
    struct layer_definition layers[2];
    uint32_t by_name[2];
    struct weight_file file;
    struct definition definition;
};

static void make_by_hand(struct handmade *made, int fd)
{
    /* The second piece is in a page of its own. */
    const uint64_t second = 3 * piece_align_bytes();
    *made = (struct handmade){
        .shapes = {10, 8000},
        .tensors = {{.name = "a", .bytes = 10, .n_dims = 1},
                    {.name = "b", .offset_bytes = second, .bytes = 8000, .n_dims = 1}},
        .pieces = {{.file_offset_bytes = 8, .bytes = 10},
                   {.file_offset_bytes = 8 + second, .layer_offset_bytes = second, .bytes = 8000}},
        .layers =
            {{.name = "l", .n_tensors = 2, .n_pieces = 2, .shift_bytes = 8, .bytes = second + 8000},
             {.name = "k", .bytes = 1}},
        .file = {.path = (char *)(uintptr_t) "w", .fd = fd, .bytes = 8 + second + 8000},
        .definition = {.name = (char *)(uintptr_t) "m", .n_layers = 2, .n_files = 1},
    };
    for (unsigned i = 0; i < 2; i++) {
        REQUIRE(dtype_parse("u8", &made->tensors[i].type) == 0);
        made->tensors[i].shape = &made->shapes[i];
    }
    made->layers[0].tensors = made->tensors;
    made->layers[0].pieces = made->pieces;
    made->definition.layers = made->layers;
    made->definition.files = &made->file;
}

static int read_handmade(const struct handmade *made)
{
    struct definition *copy = NULL;
    struct ledger_source *sources = NULL;
    uint64_t n_bytes;
    uint32_t crc;
    int fd = write_down(&made->definition, &n_bytes, &crc);
    int r = ledger_definition_read(fd, FIRST_BYTE, n_bytes, crc, &copy, &sources);
    if (r == 0)
        check_harmless(copy);
    definition_unref(copy);
    free(sources);
    close(fd);
    return r;
}

START_TEST(test_wrong_parts)
{
    struct handmade made;
    char long_name[DEFINITION_NAME_MAX + 2];
    int fd = memfd_create("weights", MFD_CLOEXEC);
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    make_by_hand(&made, fd);
    ck_assert_int_eq(read_handmade(&made), 0);

#define WRONG(change)                                     \
    do {                                                  \
        make_by_hand(&made, fd);                          \
        change;                                           \
        ck_assert_int_eq(read_handmade(&made), -EBADMSG); \
    } while (0)
    WRONG(made.definition.name = long_name);
    WRONG(made.definition.name = (char *)(uintptr_t) "");
    WRONG(made.definition.n_layers = 0);
    WRONG(made.layers[0].name = "");
    WRONG(made.layers[0].name = long_name);
    WRONG(made.layers[0].name = "a\nb");
    WRONG(made.layers[0].name = "\xc3(");
    WRONG(made.layers[0].name = "k");
    WRONG(made.layers[1].bytes = 0);
    WRONG(made.layers[1].bytes = UINT64_MAX);
    WRONG(made.layers[1].bytes = UINT64_MAX - made.layers[0].bytes + 288);
    WRONG(made.layers[0].bytes--);
    WRONG(made.layers[0].shift_bytes = 9);
    WRONG(made.layers[0].shift_bytes = 8 + piece_align_bytes());
    WRONG(made.layers[0].n_tensors = 1);
    WRONG(made.tensors[0].name = "\x7f");
    WRONG(made.tensors[0].offset_bytes = made.layers[0].bytes - 9);
    WRONG(made.tensors[0].offset_bytes = UINT64_MAX - 5);
    WRONG(made.tensors[0].bytes++);
    WRONG(made.shapes[0]++);
    WRONG(made.shapes[0] = UINT64_MAX);
    WRONG(made.pieces[0].source = 1);
    WRONG(made.pieces[0].bytes = 0);
    WRONG(made.pieces[0].bytes = 3 * piece_align_bytes());
    WRONG(made.pieces[0].bytes = UINT64_MAX);
    WRONG(made.pieces[0].file_offset_bytes++);
    WRONG(made.pieces[0].file_offset_bytes = UINT64_MAX - piece_align_bytes() + 1 + 8);
    WRONG(made.pieces[1].layer_offset_bytes++);
    WRONG(made.pieces[1].layer_offset_bytes += piece_align_bytes());
    WRONG(made.pieces[1].layer_offset_bytes = 0);
    WRONG(made.pieces[1].bytes++);
    WRONG(made.file.bytes--);
    WRONG(made.file.path = (char *)(uintptr_t) "");
    WRONG(made.file.modified.tv_nsec = 1000000000);
    WRONG(made.file.status_changed.tv_nsec = 1000000000);
    close(fd);
}
END_TEST

START_TEST(test_random)
{
    unsigned seed = test_seed(), state = seed;
    struct bytes original = written(from_file());
    unsigned n_good = 0, n_bad = 0;
    printf("seed %u\n", seed);
    for (int round = 0; round < 20000; round += case_step()) {
        struct bytes bytes = {0};
        struct definition *definition;
        bytes_add(&bytes, original.at, original.n);
        mutate(&bytes, &state);
        int r = read_bytes(&bytes, &definition);
        if (r == 0) {
            check_harmless(definition);
            definition_unref(definition);
        }
        ck_assert_msg(r == 0 || r == -EBADMSG, "seed %u, round %u: %d", seed, round, r);
        n_good += r == 0;
        n_bad += r < 0;
        free(bytes.at);
    }
    ck_assert_msg(n_good > 0 && n_bad > 0, "seed %u", seed);
    free(original.at);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger_definition_damage");
    TCase *tcase = tcase_create("ledger_definition_damage");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_damaged);
    tcase_add_test(tcase, test_wrong_parts);
    tcase_add_test(tcase, test_random);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
