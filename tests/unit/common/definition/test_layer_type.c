/* Every layer type: tensors and sizes against numbers worked out by hand, and every parameter that
 * is refused. */
#include "common/definition/definition_parse.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* A definition with the one layer "x", given without its braces and its name. */
static int parse_one(const char *keys, struct definition **ret, struct definition_problem *problem)
{
    char text[2048];

    int n = snprintf(text, sizeof text, "{\"name\":\"m\",\"layers\":[{\"name\":\"x\",%s}]}", keys);
    ck_assert(n > 0 && (size_t)n < sizeof text);
    return definition_parse(text, (size_t)n, ret, problem);
}

struct expected {
    const char *keys;
    uint64_t bytes;
    const char *tensors; /* "name[shape]@offset ..." */
};

static const struct expected good[] = {
    /* 2048 * 1024 * 4 = 8388608; 2048 * 4 = 8192. */
    {"\"type\":\"linear\",\"in_features\":1024,\"out_features\":2048", 8396800,
     "x.weight[2048,1024]@0 x.bias[2048]@8388608 "},
    {"\"type\":\"linear\",\"in_features\":2048,\"out_features\":1024,\"bias\":true,"
     "\"activation\":\"relu\"",
     8392704, "x.weight[1024,2048]@0 x.bias[1024]@8388608 "},
    {"\"type\":\"linear\",\"in_features\":3,\"out_features\":5,\"bias\":false", 60,
     "x.weight[5,3]@0 "},
    {"\"type\":\"linear\",\"in_features\":3,\"out_features\":5,\"dtype\":\"bf16\"", 40,
     "x.weight[5,3]@0 x.bias[5]@30 "},
    {"\"type\":\"linear\",\"in_features\":3,\"out_features\":4,\"dtype\":\"F4\"", 8,
     "x.weight[4,3]@0 x.bias[4]@6 "},
    /* 64 * 3 * 7 * 7 * 4 = 37632; 64 * 4 = 256. */
    {"\"type\":\"conv2d\",\"in_channels\":3,\"out_channels\":64,\"kernel_size\":7,\"stride\":2,"
     "\"padding\":3",
     37888, "x.weight[64,3,7,7]@0 x.bias[64]@37632 "},
    /* 64 * 8 * 3 * 5 * 4 = 30720. */
    {"\"type\":\"conv2d\",\"in_channels\":32,\"out_channels\":64,\"kernel_size\":[3,5],"
     "\"stride\":[2,1],\"padding\":[4,0],\"dilation\":[3,1],\"groups\":4,\"bias\":false,"
     "\"padding_mode\":\"circular\"",
     30720, "x.weight[64,8,3,5]@0 "},
    /* Depthwise: 32 * 1 * 3 * 3 * 4 = 1152. */
    {"\"type\":\"conv2d\",\"in_channels\":32,\"out_channels\":32,\"kernel_size\":3,\"groups\":32,"
     "\"padding\":\"same\",\"dilation\":2,\"padding_mode\":\"zeros\"",
     1280, "x.weight[32,1,3,3]@0 x.bias[32]@1152 "},
    {"\"type\":\"conv2d\",\"in_channels\":1,\"out_channels\":1,\"kernel_size\":1,"
     "\"padding\":\"valid\",\"padding_mode\":\"reflect\"",
     8, "x.weight[1,1,1,1]@0 x.bias[1]@4 "},
    /* 50257 * 768 * 4 = 154389504. */
    {"\"type\":\"embedding\",\"num_embeddings\":50257,\"embedding_dim\":768", 154389504,
     "x.weight[50257,768]@0 "},
    {"\"type\":\"embedding\",\"num_embeddings\":10,\"embedding_dim\":3,\"padding_idx\":-1,"
     "\"max_norm\":1.5,\"norm_type\":2,\"scale_grad_by_freq\":true,\"sparse\":true",
     120, "x.weight[10,3]@0 "},
    {"\"type\":\"embedding\",\"num_embeddings\":10,\"embedding_dim\":3,\"padding_idx\":null,"
     "\"max_norm\":null",
     120, "x.weight[10,3]@0 "},
    {"\"type\":\"layer_norm\",\"normalized_shape\":768", 6144, "x.weight[768]@0 x.bias[768]@3072 "},
    /* 3 * 4 * 5 * 4 = 240. */
    {"\"type\":\"layer_norm\",\"normalized_shape\":[3,4,5],\"eps\":1e-5,"
     "\"elementwise_affine\":true",
     480, "x.weight[3,4,5]@0 x.bias[3,4,5]@240 "},
    {"\"type\":\"layer_norm\",\"normalized_shape\":[8],\"bias\":false,\"eps\":1", 32,
     "x.weight[8]@0 "},
    {"\"type\":\"layer_norm\",\"normalized_shape\":[2,1,1,1,1,1,1,2],\"bias\":false", 16,
     "x.weight[2,1,1,1,1,1,1,2]@0 "},
    /* Gates 4 * 20 = 80: 80 * 10 * 4 = 3200, 80 * 20 * 4 = 6400, 80 * 4 = 320 twice. */
    {"\"type\":\"lstm\",\"input_size\":10,\"hidden_size\":20", 10240,
     "x.weight_ih_l0[80,10]@0 x.weight_hh_l0[80,20]@3200 x.bias_ih_l0[80]@9600 "
     "x.bias_hh_l0[80]@9920 "},
    {"\"type\":\"lstm\",\"input_size\":10,\"hidden_size\":20,\"bias\":false,\"dropout\":0.5,"
     "\"batch_first\":true,\"num_layers\":2",
     9600 + 12800,
     "x.weight_ih_l0[80,10]@0 x.weight_hh_l0[80,20]@3200 "
     "x.weight_ih_l1[80,20]@9600 x.weight_hh_l1[80,20]@16000 "},
    /* Gates 16; the second layer reads 2 * 4. Layer 0 and 1: 2 * (192 + 256 + 64 + 64) and
     * 2 * (512 + 256 + 64 + 64). */
    {"\"type\":\"lstm\",\"input_size\":3,\"hidden_size\":4,\"num_layers\":2,\"bidirectional\":true",
     1152 + 1792,
     "x.weight_ih_l0[16,3]@0 x.weight_hh_l0[16,4]@192 x.bias_ih_l0[16]@448 x.bias_hh_l0[16]@512 "
     "x.weight_ih_l0_reverse[16,3]@576 x.weight_hh_l0_reverse[16,4]@768 "
     "x.bias_ih_l0_reverse[16]@1024 x.bias_hh_l0_reverse[16]@1088 "
     "x.weight_ih_l1[16,8]@1152 x.weight_hh_l1[16,4]@1664 x.bias_ih_l1[16]@1920 "
     "x.bias_hh_l1[16]@1984 "
     "x.weight_ih_l1_reverse[16,8]@2048 x.weight_hh_l1_reverse[16,4]@2560 "
     "x.bias_ih_l1_reverse[16]@2816 x.bias_hh_l1_reverse[16]@2880 "},
    /* Projection to 2: hh is [16,2], hr is [2,4], the second layer reads 2 * 2. In F16. */
    {"\"type\":\"lstm\",\"input_size\":3,\"hidden_size\":4,\"num_layers\":2,\"proj_size\":2,"
     "\"bidirectional\":true,\"bias\":false,\"dtype\":\"f16\"",
     2 * (96 + 64 + 16) + 2 * (128 + 64 + 16),
     "x.weight_ih_l0[16,3]@0 x.weight_hh_l0[16,2]@96 x.weight_hr_l0[2,4]@160 "
     "x.weight_ih_l0_reverse[16,3]@176 x.weight_hh_l0_reverse[16,2]@272 "
     "x.weight_hr_l0_reverse[2,4]@336 "
     "x.weight_ih_l1[16,4]@352 x.weight_hh_l1[16,2]@480 x.weight_hr_l1[2,4]@544 "
     "x.weight_ih_l1_reverse[16,4]@560 x.weight_hh_l1_reverse[16,2]@688 "
     "x.weight_hr_l1_reverse[2,4]@752 "},
    {"\"type\":\"lstm\",\"input_size\":1,\"hidden_size\":2,\"proj_size\":1", 32 + 32 + 64 + 8,
     "x.weight_ih_l0[8,1]@0 x.weight_hh_l0[8,1]@32 x.bias_ih_l0[8]@64 x.bias_hh_l0[8]@96 "
     "x.weight_hr_l0[1,2]@128 "},
};

static void print_tensors(const struct layer_definition *layer, char *text, size_t size)
{
    FILE *out = fmemopen(text, size, "w");

    for (uint32_t i = 0; i < layer->n_tensors; i++) {
        const struct tensor *tensor = &layer->tensors[i];
        fprintf(out, "%s[", tensor->name);
        for (unsigned j = 0; j < tensor->n_dims; j++)
            fprintf(out, "%s%" PRIu64, j ? "," : "", tensor->shape[j]);
        fprintf(out, "]@%" PRIu64 " ", tensor->offset_bytes);
    }
    fclose(out);
}

START_TEST(tensors_and_sizes)
{
    struct definition_problem problem = {.message = ""};
    struct definition *definition = NULL;
    char text[4096];

    ck_assert_msg(parse_one(good[_i].keys, &definition, &problem) == 0, "%s: %s %s", good[_i].keys,
                  problem.path, problem.message);
    const struct layer_definition *layer = &definition->layers[0];
    print_tensors(layer, text, sizeof text);
    ck_assert_str_eq(text, good[_i].tensors);
    ck_assert_uint_eq(layer->bytes, good[_i].bytes);
    ck_assert_uint_eq(definition->bytes, good[_i].bytes);
    const struct tensor *last = &layer->tensors[layer->n_tensors - 1];
    ck_assert_uint_eq(last->offset_bytes + last->bytes, layer->bytes);
    definition_unref(definition);
}
END_TEST

#define LINEAR    "\"type\":\"linear\",\"in_features\":1,"
#define CONV      "\"type\":\"conv2d\",\"in_channels\":6,\"out_channels\":4,"
#define CONV1     CONV "\"kernel_size\":1,"
#define EMBEDDING "\"type\":\"embedding\",\"num_embeddings\":1,\"embedding_dim\":1,"
#define NORM      "\"type\":\"layer_norm\",\"normalized_shape\":4,"
#define LSTM      "\"type\":\"lstm\",\"input_size\":3,\"hidden_size\":4,"

#define POSITIVE "must be a positive integer"
#define BOOLEAN  "must be true or false"
#define PAIR     "must be an integer or an array of two"
#define TYPES    "must be one of linear, conv2d, embedding, layer_norm, lstm"
#define TOO_BIG  "the tensor has more than 2^64 - 1 bytes"

static const struct {
    const char *keys, *path, *message;
} bad[] = {
    {"\"type\":\"Linear\"", ".type", TYPES},
    {"\"type\":\"\"", ".type", TYPES},
    {"\"type\":7", ".type", TYPES},
    {"\"type\":null", ".type", TYPES},
    {"\"type\":\"linear\"", ".in_features", "is missing"},
    {"\"type\":\"linear\",\"in_features\":1", ".out_features", "is missing"},
    {LINEAR "\"out_features\":0", ".out_features", POSITIVE},
    {LINEAR "\"out_features\":-1", ".out_features", POSITIVE},
    {LINEAR "\"out_features\":1.0", ".out_features", POSITIVE},
    {LINEAR "\"out_features\":\"1\"", ".out_features", POSITIVE},
    {LINEAR "\"out_features\":null", ".out_features", POSITIVE},
    {LINEAR "\"out_features\":[1]", ".out_features", POSITIVE},
    {LINEAR "\"out_features\":1,\"bias\":1", ".bias", BOOLEAN},
    {LINEAR "\"out_features\":1,\"bias\":null", ".bias", BOOLEAN},
    {LINEAR "\"out_features\":1,\"kernel_size\":1", ".kernel_size", "unknown key"},
    {LINEAR "\"out_features\":1,\"Bias\":true", ".Bias", "unknown key"},
    {LINEAR "\"out_features\":1,\"activation\":1", ".activation", "must be a string"},
    {LINEAR "\"out_features\":1,\"dtype\":\"float\"", ".dtype", "unknown dtype"},
    {LINEAR "\"out_features\":1,\"dtype\":32", ".dtype", "unknown dtype"},
    {LINEAR "\"out_features\":1,\"dtype\":\"f4\"", "", "1 elements of F4 do not fill whole bytes"},
    {LINEAR "\"out_features\":6,\"dtype\":\"f6_e2m3\"", "",
     "6 elements of F6_E2M3 do not fill whole bytes"},
    {"\"type\":\"linear\",\"in_features\":4294967296,\"out_features\":4294967296", "", TOO_BIG},
    {"\"type\":\"linear\",\"in_features\":4294967296,\"out_features\":1073741824", "", TOO_BIG},
    {"\"type\":\"linear\",\"in_features\":1,\"out_features\":4611686018427387903", "",
     "the layer has more than 2^64 - 1 bytes"},
    {CONV "\"bias\":true", ".kernel_size", "is missing"},
    {CONV "\"kernel_size\":0", ".kernel_size", POSITIVE},
    {CONV "\"kernel_size\":[1]", ".kernel_size", PAIR},
    {CONV "\"kernel_size\":[1,2,3]", ".kernel_size", PAIR},
    {CONV "\"kernel_size\":\"1\"", ".kernel_size", PAIR},
    {CONV "\"kernel_size\":1.5", ".kernel_size", PAIR},
    {CONV "\"kernel_size\":[1,0]", ".kernel_size[1]", POSITIVE},
    {CONV "\"kernel_size\":[-1,1]", ".kernel_size[0]", POSITIVE},
    {CONV "\"kernel_size\":[3037000500,3037000500]", "", TOO_BIG},
    {CONV1 "\"stride\":0", ".stride", POSITIVE},
    {CONV1 "\"stride\":[1,1,1]", ".stride", PAIR},
    {CONV1 "\"dilation\":[0,1]", ".dilation[0]", POSITIVE},
    {CONV1 "\"padding\":-1", ".padding", "must be an integer of at least 0"},
    {CONV1 "\"padding\":[0,-1]", ".padding[1]", "must be an integer of at least 0"},
    {CONV1 "\"padding\":\"full\"", ".padding",
     "must be an integer, an array of two, \"same\" or \"valid\""},
    {CONV1 "\"padding_mode\":\"mirror\"", ".padding_mode",
     "must be \"zeros\", \"reflect\", \"replicate\" or \"circular\""},
    {CONV1 "\"padding_mode\":0", ".padding_mode",
     "must be \"zeros\", \"reflect\", \"replicate\" or \"circular\""},
    {CONV1 "\"groups\":0", ".groups", POSITIVE},
    {CONV1 "\"groups\":4", ".groups", "must divide in_channels"},
    {CONV1 "\"groups\":3", ".groups", "must divide out_channels"},
    {"\"type\":\"embedding\",\"num_embeddings\":1", ".embedding_dim", "is missing"},
    {EMBEDDING "\"bias\":true", ".bias", "unknown key"},
    {EMBEDDING "\"padding_idx\":0.5", ".padding_idx", "must be an integer or null"},
    {EMBEDDING "\"max_norm\":\"1\"", ".max_norm", "must be a number or null"},
    {EMBEDDING "\"norm_type\":null", ".norm_type", "must be a number"},
    {EMBEDDING "\"scale_grad_by_freq\":0", ".scale_grad_by_freq", BOOLEAN},
    {EMBEDDING "\"sparse\":\"no\"", ".sparse", BOOLEAN},
    {"\"type\":\"layer_norm\"", ".normalized_shape", "is missing"},
    {"\"type\":\"layer_norm\",\"normalized_shape\":[]", ".normalized_shape",
     "must be an integer or an array of integers"},
    {"\"type\":\"layer_norm\",\"normalized_shape\":\"4\"", ".normalized_shape",
     "must be an integer or an array of integers"},
    {"\"type\":\"layer_norm\",\"normalized_shape\":0", ".normalized_shape", POSITIVE},
    {"\"type\":\"layer_norm\",\"normalized_shape\":[4,0]", ".normalized_shape[1]", POSITIVE},
    {"\"type\":\"layer_norm\",\"normalized_shape\":[[4]]", ".normalized_shape[0]", POSITIVE},
    {"\"type\":\"layer_norm\",\"normalized_shape\":[1,1,1,1,1,1,1,1,1]", ".normalized_shape",
     "must have at most 8 dimensions"},
    {NORM "\"eps\":\"small\"", ".eps", "must be a number"},
    {NORM "\"elementwise_affine\":1", ".elementwise_affine", BOOLEAN},
    {NORM "\"elementwise_affine\":false", ".elementwise_affine", "a layer must have weights"},
    {"\"type\":\"lstm\",\"input_size\":1", ".hidden_size", "is missing"},
    {LSTM "\"num_layers\":0", ".num_layers", POSITIVE},
    {LSTM "\"proj_size\":-1", ".proj_size", "must be an integer of at least 0"},
    {LSTM "\"proj_size\":4", ".proj_size", "must be smaller than hidden_size"},
    {LSTM "\"dropout\":1.5", ".dropout", "must be a number from 0 to 1"},
    {LSTM "\"dropout\":-0.1", ".dropout", "must be a number from 0 to 1"},
    {LSTM "\"dropout\":true", ".dropout", "must be a number from 0 to 1"},
    {LSTM "\"batch_first\":0", ".batch_first", BOOLEAN},
    {LSTM "\"bidirectional\":\"yes\"", ".bidirectional", BOOLEAN},
    {LSTM "\"bias\":0", ".bias", BOOLEAN},
    {"\"type\":\"lstm\",\"input_size\":1,\"hidden_size\":4611686018427387904", ".hidden_size",
     "is too large"},
    {"\"type\":\"lstm\",\"input_size\":1,\"hidden_size\":4294967296", "", TOO_BIG},
    {LSTM "\"num_layers\":9223372036854775807", "", "the model has more than 250000 tensors"},
};

START_TEST(refused_parameters)
{
    struct definition_problem problem = {.line = 77, .column = 77};
    struct definition *definition = NULL;
    char path[128];

    snprintf(path, sizeof path, "layers[0]%s", bad[_i].path);
    ck_assert_msg(parse_one(bad[_i].keys, &definition, &problem) == -EBADMSG, "%s", bad[_i].keys);
    ck_assert_ptr_null(definition);
    ck_assert_str_eq(problem.path, path);
    ck_assert_str_eq(problem.message, bad[_i].message);
    ck_assert_uint_eq(problem.line, 0);
    ck_assert_uint_eq(problem.column, 0);
}
END_TEST

START_TEST(a_long_layer_name_leaves_room_for_its_tensors)
{
    char name[256], text[1024];

    /* ".weight" has 7 bytes: 248 fit, 249 do not. */
    for (int length = 248; length <= 249; length++) {
        struct definition_problem problem;
        struct definition *definition = NULL;
        memset(name, 'n', sizeof name);
        name[length] = '\0';
        snprintf(text, sizeof text,
                 "{\"name\":\"m\",\"layers\":[{\"name\":\"%s\",\"type\":\"linear\","
                 "\"in_features\":1,\"out_features\":1}]}",
                 name);
        int r = definition_parse(text, strlen(text), &definition, &problem);
        ck_assert_int_eq(r, length == 248 ? 0 : -EBADMSG);
        if (r < 0)
            ck_assert_str_eq(problem.path, "layers[0].name");
        definition_unref(definition);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layer_type");
    TCase *tests = tcase_create("layer_type");

    tcase_add_loop_test(tests, tensors_and_sizes, 0, COUNT(good));
    tcase_add_loop_test(tests, refused_parameters, 0, COUNT(bad));
    tcase_add_test(tests, a_long_layer_name_leaves_room_for_its_tensors);
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
