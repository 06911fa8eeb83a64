/* Replies to Acquire: the places of tensors, and replies of every wrong shape. */
#include "client/library/mapped_layer.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page;
static int arena; /* the map's */
static struct arena_map *map;

/* An arena of four pages; page i holds nothing but i. */
static void setup(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    char *bytes = malloc(page);

    arena = memfd_create("arena", MFD_CLOEXEC);
    for (int i = 0; i < 4; i++) {
        memset(bytes, i, page);
        ck_assert_int_eq(write(arena, bytes, page), (ssize_t)page);
    }
    free(bytes);
    ck_assert_int_eq(arena_map_new(arena, 4 * page, &map), 0);
}

static void teardown(void)
{
    map = arena_map_unref(map);
}

static int init_as(struct mapped_layer *mapped, const char *reply, bool has_units)
{
    json_error_t error;
    json_t *parameters = json_loads(reply, 0, &error);
    ck_assert_msg(parameters, "%s: %s", error.text, reply);
    int r = mapped_layer_init(mapped, parameters, map, has_units);
    json_decref(parameters); /* the layer keeps what it needs */
    return r;
}

static int init(struct mapped_layer *mapped, const char *reply)
{
    return init_as(mapped, reply, false);
}

#define LAYER(bytes, segments, tensors)                                                       \
    "{\"lease\":\"7\",\"layer\":\"l\",\"bytes\":" bytes ",\"fill\":3,\"segments\":[" segments \
    "],\"tensors\":[" tensors "],\"arenaFileDescriptor\":null,\"more\":\"to come\"}"
#define SEGMENT(offset, length) "{\"offset\":" offset ",\"length\":" length "}"
#define TENSOR(name, dtype, shape, offset, bytes)                                             \
    "{\"name\":\"" name "\",\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"offset\":" offset \
    ",\"bytes\":" bytes "}"

START_TEST(tensors)
{
    struct mapped_layer mapped;

    ck_assert_int_eq(
        init(&mapped, LAYER("40", SEGMENT("8", "40"),
                            TENSOR("w", "F32", "2,3", "16", "24") "," TENSOR(
                                "scalar", "I64", "", "0",
                                "8") "," TENSOR("empty", "F16", "0,9223372036854775807,4", "40",
                                                "0") "," TENSOR("new", "F0_X", "7", "8", "3"))),
        0);
    ck_assert_str_eq(json_string_value(mapped.lease), "7");
    ck_assert_int_eq(mapped.fill, 3);
    ck_assert_str_eq(mapped.layer, "l");
    ck_assert_uint_eq(mapped.bytes, 40);
    ck_assert_uint_eq(mapped.n_tensors, 4);
    const struct edgemind_tensor *w = &mapped.tensors[0];
    ck_assert_str_eq(w->name, "w");
    ck_assert_str_eq(w->dtype, "F32");
    ck_assert_uint_eq(w->n_dimensions, 2);
    ck_assert_uint_eq(w->shape[0], 2);
    ck_assert_uint_eq(w->shape[1], 3);
    ck_assert_uint_eq(w->bytes, 24);
    ck_assert_ptr_eq(w->data, mapped.parts[0].range.data + 16);
    ck_assert_uint_eq(mapped.tensors[1].n_dimensions, 0);
    ck_assert_uint_eq(mapped.tensors[2].shape[2], 4);
    ck_assert_uint_eq(mapped.tensors[3].shape[0], 7);
    mapped_layer_done(&mapped);
    mapped_layer_done(&mapped); /* safe again */
}
END_TEST

/* Adjacent segments become one, wherever they meet. */
START_TEST(adjacent_segments)
{
    struct mapped_layer mapped, whole;

    ck_assert_int_eq(init(&whole, LAYER("1", SEGMENT("0", "1"), "")), 0);
    ck_assert_int_eq(init(&mapped, LAYER("30", SEGMENT("3", "10") "," SEGMENT("13", "20"), "")), 0);
    ck_assert_ptr_eq(mapped.parts[0].range.data, whole.parts[0].range.data + 3);
    ck_assert_ptr_null(mapped.parts[0].range.view);
    mapped_layer_done(&mapped);
    mapped_layer_done(&whole);
}
END_TEST

START_TEST(apart)
{
    char reply[512];
    struct mapped_layer mapped;

    snprintf(reply, sizeof reply,
             LAYER("%zu", SEGMENT("%zu", "%zu") "," SEGMENT("0", "5"),
                   TENSOR("t", "U8", "10", "%zu", "10")),
             page, 2 * page + 5, page - 5, page - 10);
    ck_assert_int_eq(init(&mapped, reply), 0);
    static const unsigned char expected[] = {2, 2, 2, 2, 2, 0, 0, 0, 0, 0};
    ck_assert_mem_eq(mapped.tensors[0].data, expected, sizeof expected);
    mapped_layer_done(&mapped);
}
END_TEST

START_TEST(likeness)
{
    static const char *const others[] = {
        LAYER("12", SEGMENT("0", "12"), TENSOR("a", "F32", "2", "0", "8")),
        LAYER("8", SEGMENT("0", "8"), ""),
        LAYER("8", SEGMENT("0", "8"), TENSOR("b", "F32", "2", "0", "8")),
        LAYER("8", SEGMENT("0", "8"), TENSOR("a", "I32", "2", "0", "8")),
        LAYER("8", SEGMENT("0", "8"), TENSOR("a", "F32", "1,2", "0", "8")),
    };
    struct mapped_layer a, b;

    ck_assert_int_eq(init(&a, LAYER("8", SEGMENT("0", "8"), TENSOR("a", "F32", "2", "0", "8"))), 0);
    ck_assert_int_eq(init(&b, LAYER("8", SEGMENT("16", "8"), TENSOR("a", "F32", "2", "0", "8"))),
                     0);
    ck_assert(mapped_layer_is_like(&a, &b));
    mapped_layer_done(&b);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        ck_assert_int_eq(init(&b, others[i]), 0);
        ck_assert_msg(!mapped_layer_is_like(&a, &b), "%s", others[i]);
        mapped_layer_done(&b);
    }
    mapped_layer_done(&a);
}
END_TEST

#define FILLED(name, fill, offset)                                       \
    "{\"lease\":\"8\",\"layer\":\"" name "\",\"bytes\":8,\"fill\":" fill \
    ",\"segments\":[" SEGMENT(offset, "8") "],\"tensors\":[]}"

START_TEST(sameness)
{
    static const char *const others[] = {FILLED("k", "3", "0"), FILLED("l", "4", "0"),
                                         FILLED("l", "3", "8")};
    struct arena_map *first = map, *second;
    struct mapped_layer a, b;

    ck_assert_int_eq(init(&a, LAYER("8", SEGMENT("0", "8"), "")), 0);
    ck_assert_int_eq(init(&b, FILLED("l", "3", "0")), 0);
    ck_assert(mapped_layer_is_same(&a, &b));
    mapped_layer_done(&b);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        ck_assert_int_eq(init(&b, others[i]), 0);
        ck_assert_msg(!mapped_layer_is_same(&a, &b), "%s", others[i]);
        mapped_layer_done(&b);
    }
    ck_assert_int_eq(arena_map_new(dup(arena), 4 * page, &second), 0);
    map = second;
    ck_assert_int_eq(init(&b, FILLED("l", "3", "0")), 0);
    ck_assert(!mapped_layer_is_same(&a, &b));
    map = first;
    mapped_layer_done(&b);
    mapped_layer_done(&a);
    arena_map_unref(second);
}
END_TEST

#define ONE   "{\"lease\":\"7\",\"layer\":\"l\",\"fill\":3,"
#define EIGHT SEGMENT("0", "8")

/* Units lie apart, within a page or not; those that meet at pages are one part. */
START_TEST(units)
{
    struct mapped_layer mapped, again;
    char reply[1024];

    snprintf(reply, sizeof reply,
             LAYER("%zu",
                   SEGMENT("8", "4") "," SEGMENT("100", "5") "," SEGMENT("%zu", "%zu") "," SEGMENT(
                       "%zu", "6"),
                   TENSOR("a", "U8", "4", "0", "4") "," TENSOR("b", "U8", "3", "5", "3") "," TENSOR(
                       "c", "U8", "8", "%zu", "8")),
             4 + 5 + page + 6, 3 * page, page, page, 4 + 5 + page - 2);
    ck_assert_int_eq(init(&mapped, reply), -EBADMSG); /* no whole layer is like this */
    ck_assert_int_eq(init_as(&mapped, reply, true), 0);
    ck_assert_uint_eq(mapped.bytes, 4 + 5 + page + 6);
    ck_assert_uint_eq(mapped.n_parts, 3);
    ck_assert_ptr_eq(mapped.tensors[0].data, mapped.parts[0].range.data);
    ck_assert_ptr_eq(mapped.tensors[1].data, mapped.parts[1].range.data + 1);
    ck_assert_ptr_eq(mapped.parts[1].range.data, mapped.parts[0].range.data + 92);
    ck_assert_mem_eq(mapped.tensors[2].data, "\3\3\1\1\1\1\1\1", 8);
    ck_assert(!mapped_layer_is_lost(&mapped, true));
    ck_assert_int_eq(init_as(&again, reply, true), 0);
    ck_assert(mapped_layer_is_same(&mapped, &again));
    mapped_layer_done(&again);
    mapped_layer_done(&mapped);
    ck_assert(!mapped_layer_is_lost(&mapped, true));
}
END_TEST

/* Two units of which only one ends or begins at a page are two parts. */
START_TEST(half_a_joint)
{
    struct mapped_layer mapped;
    char replies[2][256];

    snprintf(replies[0], sizeof *replies,
             LAYER("%zu", SEGMENT("0", "%zu") "," SEGMENT("%zu", "5"), ""), page + 5, page,
             2 * page + 100);
    snprintf(replies[1], sizeof *replies,
             LAYER("%zu", SEGMENT("0", "5") "," SEGMENT("%zu", "%zu"), ""), page + 5, 2 * page,
             page);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(init_as(&mapped, replies[i], true), 0);
        ck_assert_uint_eq(mapped.n_parts, 2);
        mapped_layer_done(&mapped);
    }
}
END_TEST

static const char two[] =
    LAYER("9", SEGMENT("8", "4") "," SEGMENT("100", "5"), TENSOR("a", "U8", "4", "0", "4"));

START_TEST(other_units)
{
    static const char *const others[] = {
        LAYER("9", SEGMENT("8", "4") "," SEGMENT("101", "5"), TENSOR("a", "U8", "4", "0", "4")),
        LAYER("9", SEGMENT("8", "9"), TENSOR("a", "U8", "4", "0", "4")),
    };
    struct mapped_layer mapped, other;

    ck_assert_int_eq(init_as(&mapped, two, true), 0);
    ck_assert_int_eq(init_as(&other, others[_i], true), 0);
    ck_assert(!mapped_layer_is_same(&mapped, &other));
    ck_assert(!mapped_layer_is_same(&other, &mapped));
    mapped_layer_done(&other);
    mapped_layer_done(&mapped);
}
END_TEST

/* A tensor that begins in one unit and ends in another. */
START_TEST(a_tensor_in_two_units)
{
    static const char *const replies[] = {
        LAYER("9", SEGMENT("8", "4") "," SEGMENT("100", "5"), TENSOR("a", "U8", "5", "0", "5")),
        LAYER("9", SEGMENT("8", "4") "," SEGMENT("100", "5"), TENSOR("a", "U8", "6", "4", "6")),
        LAYER("9", SEGMENT("8", "4") "," SEGMENT("100", "5"), TENSOR("a", "U8", "0", "10", "0")),
    };
    struct mapped_layer mapped;

    ck_assert_int_eq(init_as(&mapped, replies[_i], true), -EBADMSG);
    ck_assert_ptr_null(mapped.parts);
}
END_TEST

static const char *const wrong[] = {
    "{}",
    ONE "\"bytes\":8,\"segments\":3,\"tensors\":[]}",
    ONE "\"bytes\":8,\"segments\":[" EIGHT "],\"tensors\":{}}",
    ONE "\"bytes\":8,\"segments\":[" EIGHT "]}",
    ONE "\"bytes\":8.0,\"segments\":[" EIGHT "],\"tensors\":[]}",
    "{\"lease\":\"7\",\"layer\":\"l\",\"bytes\":8,\"segments\":[" EIGHT "],\"tensors\":[]}",
    "{\"lease\":\"7\",\"layer\":\"l\",\"bytes\":8,\"fill\":\"3\",\"segments\":[" EIGHT
    "],\"tensors\":[]}",
    "{\"lease\":7,\"layer\":\"l\",\"bytes\":8,\"fill\":3,\"segments\":[" EIGHT "],\"tensors\":[]}",
    "{\"lease\":\"7\",\"bytes\":8,\"fill\":3,\"segments\":[" EIGHT "],\"tensors\":[]}",
    LAYER("9", EIGHT, ""),
    LAYER("7", EIGHT, ""),
    LAYER("-8", EIGHT, ""),
    LAYER("0", "", ""),
    LAYER("8", "", ""),
    LAYER("8", "3", ""),
    LAYER("8", "{\"offset\":0}", ""),
    LAYER("8", SEGMENT("-1", "8"), ""),
    LAYER("8", SEGMENT("0", "-8"), ""),
    LAYER("8", SEGMENT("0", "\"8\""), ""),
    LAYER("8", SEGMENT("0", "8") "," SEGMENT("8", "0"), ""),
    LAYER("8", SEGMENT("9223372036854775807", "8"), ""),
    LAYER("8",
          SEGMENT("0", "9223372036854775807") "," SEGMENT("0", "9223372036854775807") "," SEGMENT(
              "0", "10"),
          ""), /* 8 after an overflow */
    LAYER("9223372036854775807", SEGMENT("0", "9223372036854775807"), ""),
    LAYER("8", SEGMENT("0", "4") "," SEGMENT("8", "4"), ""), /* apart within a page */
    LAYER("8", EIGHT, "3"),
    LAYER("8", EIGHT, "{\"dtype\":\"U8\",\"shape\":[8],\"offset\":0,\"bytes\":8}"),
    LAYER("8", EIGHT, "{\"name\":\"t\",\"shape\":[8],\"offset\":0,\"bytes\":8}"),
    LAYER("8", EIGHT, "{\"name\":\"t\",\"dtype\":\"U8\",\"offset\":0,\"bytes\":8}"),
    LAYER("8", EIGHT, TENSOR("t", "U8", "9", "0", "9")),
    LAYER("8", EIGHT, TENSOR("t", "U8", "1", "8", "1")),
    LAYER("8", EIGHT, TENSOR("t", "U8", "0", "9", "0")),
    LAYER("8", EIGHT, TENSOR("t", "U8", "8", "-1", "8")),
    LAYER("8", EIGHT, TENSOR("t", "U8", "8", "0", "-8")),
    LAYER("8", EIGHT, TENSOR("t", "XX", "8", "9223372036854775807", "9223372036854775807")),
    LAYER("8", EIGHT, TENSOR("t", "U8", "-8", "0", "8")),
    LAYER("8", EIGHT, TENSOR("t", "U8", "\"8\"", "0", "8")),
    LAYER("8", EIGHT, TENSOR("t", "F32", "3", "0", "8")), /* the shape reaches beyond the bytes */
    LAYER("8", EIGHT, TENSOR("t", "F32", "4611686018427387904,4", "0", "0")),
    LAYER("8", EIGHT, TENSOR("t", "Q4_0", "8", "0", "8")), /* not whole blocks */
    LAYER("8", EIGHT, TENSOR("t", "F32", "0", "0", "4")),
};

START_TEST(wrong_shapes)
{
    struct mapped_layer mapped;

    ck_assert_msg(init(&mapped, wrong[_i]) == -EBADMSG, "%s", wrong[_i]);
    ck_assert_ptr_null(mapped.parts);
    mapped_layer_done(&mapped); /* harmless */
}
END_TEST

START_TEST(a_lost_layer)
{
    struct mapped_layer mapped;
    char reply[256];

    snprintf(reply, sizeof reply, LAYER("%zu", SEGMENT("%zu", "%zu"), ""), page, 3 * page, page);
    ck_assert_int_eq(init(&mapped, reply), 0);
    mapped_layer_done(&mapped);
    /* A new daemon has started with a smaller arena. */
    ck_assert_int_eq(ftruncate(arena, (off_t)(3 * page)), 0);
    ck_assert_int_eq(init(&mapped, reply), -ENODATA);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mapped_layer");
    TCase *cases = tcase_create("mapped_layer");

    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, tensors);
    tcase_add_test(cases, adjacent_segments);
    tcase_add_test(cases, apart);
    tcase_add_test(cases, units);
    tcase_add_test(cases, half_a_joint);
    tcase_add_loop_test(cases, other_units, 0, 2);
    tcase_add_loop_test(cases, a_tensor_in_two_units, 0, 3);
    tcase_add_test(cases, likeness);
    tcase_add_test(cases, sameness);
    tcase_add_loop_test(cases, wrong_shapes, 0, (int)(sizeof wrong / sizeof *wrong));
    tcase_add_test(cases, a_lost_layer);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
