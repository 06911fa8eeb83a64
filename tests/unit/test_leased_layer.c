/* A layer's bytes out of an arena: over segments in any order, and replies of every wrong shape. */
#include "client/leased_layer.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ARENA_BYTES = 64 };

/* An arena whose byte i is i. */
static int arena(void)
{
    unsigned char bytes[ARENA_BYTES];
    int fd = memfd_create("arena", MFD_CLOEXEC);

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    ck_assert_int_eq(write(fd, bytes, sizeof bytes), sizeof bytes);
    return fd;
}

/* Takes a new arena; whatever comes of it, the descriptor is not left open. */
static int init(struct leased_layer *layer, const char *reply, const char *tensor)
{
    json_t *parameters = json_loads(reply, 0, NULL);
    int fd = arena();

    ck_assert_ptr_nonnull(parameters);
    int r = leased_layer_init(layer, parameters, fd, tensor);
    if (r < 0)
        ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    json_decref(parameters);
    return r;
}

/* Ten bytes: 40 to 43, 8 to 11, 20 and 21; the tensors come in no order. */
#define SEGMENTS                                                              \
    "\"segments\":[{\"offset\":40,\"length\":4},{\"offset\":8,\"length\":4}," \
    "{\"offset\":20,\"length\":2}]"
static const char reply[] = "{\"bytes\":10," SEGMENTS ",\"tensors\":["
                            "{\"name\":\"b\",\"offset\":6,\"bytes\":4},"
                            "{\"name\":\"empty\",\"offset\":5,\"bytes\":0},"
                            "{\"name\":\"a\",\"offset\":0,\"bytes\":5}]}";

START_TEST(reads_over_segments)
{
    static const unsigned char expected[] = {40, 41, 42, 43, 8, 9, 10, 11, 20, 21};
    unsigned char bytes[sizeof expected + 1];
    struct leased_layer layer;

    ck_assert_int_eq(init(&layer, reply, NULL), 0);
    for (size_t from = 0; from <= sizeof expected; from++)
        for (size_t n = 0; from + n <= sizeof expected; n++) {
            memset(bytes, 0xee, sizeof bytes);
            ck_assert_int_eq(leased_layer_read(&layer, from, bytes, n), 0);
            ck_assert_mem_eq(bytes, expected + from, n);
            ck_assert_uint_eq(bytes[n], 0xee);
        }
    ck_assert_int_eq(leased_layer_read(&layer, 10, bytes, 1), -EINVAL);
    ck_assert_int_eq(leased_layer_read(&layer, UINT64_MAX, bytes, 1), -EINVAL);
    /* The daemon has started anew, with less. */
    ck_assert_int_eq(ftruncate(layer.arena_fd, 9), 0);
    ck_assert_int_eq(leased_layer_read(&layer, 4, bytes, 1), 0);
    ck_assert_int_eq(leased_layer_read(&layer, 4, bytes, 2), -ENODATA);
    int fd = layer.arena_fd;
    leased_layer_done(&layer);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

START_TEST(chooses_weights)
{
    struct leased_layer layer;

    ck_assert_int_eq(init(&layer, reply, NULL), 0);
    ck_assert_uint_eq(layer.n_weights, 3);
    ck_assert_uint_eq(layer.weights[0].offset_bytes, 0);
    ck_assert_uint_eq(layer.weights[0].n_bytes, 5);
    ck_assert_uint_eq(layer.weights[2].offset_bytes, 6);
    leased_layer_done(&layer);
    ck_assert_int_eq(init(&layer, reply, "b"), 0);
    ck_assert_uint_eq(layer.n_weights, 1);
    ck_assert_uint_eq(layer.weights[0].offset_bytes, 6);
    leased_layer_done(&layer);
    ck_assert_int_eq(init(&layer, reply, "c"), -ENOENT);
    /* Without tensors a layer is its bytes. */
    ck_assert_int_eq(init(&layer, "{\"bytes\":10," SEGMENTS ",\"tensors\":[]}", NULL), 0);
    ck_assert_uint_eq(layer.n_weights, 1);
    ck_assert_uint_eq(layer.weights[0].n_bytes, 10);
    leased_layer_done(&layer);
    ck_assert_int_eq(init(&layer, "{\"bytes\":10," SEGMENTS ",\"tensors\":[]}", "a"), -ENOENT);
}
END_TEST

#define TENSOR(offset, bytes)                                                    \
    "{\"bytes\":10," SEGMENTS ",\"tensors\":[{\"name\":\"a\",\"offset\":" offset \
    ",\"bytes\":" bytes "}]}"
#define SEGMENT(offset, length) \
    "{\"bytes\":10,\"segments\":[{\"offset\":" offset ",\"length\":" length "}],\"tensors\":[]}"

static const char *const wrong[] = {
    "{}",
    "{\"bytes\":10,\"segments\":3,\"tensors\":[]}",
    "{\"bytes\":10," SEGMENTS ",\"tensors\":{}}",
    "{\"bytes\":9," SEGMENTS ",\"tensors\":[]}",
    "{\"bytes\":-10," SEGMENTS ",\"tensors\":[]}",
    "{\"bytes\":10,\"segments\":[],\"tensors\":[]}",
    "{\"bytes\":10,\"segments\":[3],\"tensors\":[]}",
    "{\"bytes\":10," SEGMENTS ",\"tensors\":[3]}",
    SEGMENT("-1", "10"),
    SEGMENT("0", "-10"),
    SEGMENT("0", "\"10\""),
    "{\"bytes\":0,\"segments\":[{\"offset\":0,\"length\":9223372036854775807},"
    "{\"offset\":0,\"length\":9223372036854775807},{\"offset\":0,\"length\":2}],\"tensors\":[]}",
    TENSOR("0", "11"),
    TENSOR("10", "1"),
    TENSOR("-1", "2"),
    TENSOR("2", "-1"),
    TENSOR("9223372036854775807", "9223372036854775807"),
    "{\"bytes\":10," SEGMENTS ",\"tensors\":[{\"offset\":0,\"bytes\":1}]}",
};

START_TEST(wrong_shapes)
{
    struct leased_layer layer;

    ck_assert_int_eq(init(&layer, wrong[_i], NULL), -EBADMSG);
    ck_assert_int_eq(layer.arena_fd, -1);
    leased_layer_done(&layer); /* harmless */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("leased_layer");
    TCase *tests = tcase_create("leased_layer");

    tcase_add_test(tests, reads_over_segments);
    tcase_add_test(tests, chooses_weights);
    tcase_add_loop_test(tests, wrong_shapes, 0, (int)(sizeof wrong / sizeof *wrong));
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
