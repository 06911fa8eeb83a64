/* Tensors of experts and tables that are sliced into units. */
#include "common/formats/weights.h"
#include "tests/unit/case_step.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/weights_fixture.h"

#include <stdlib.h>
#include <string.h>

enum { UNIT_BYTES = 8 << 20, OFFSET = 4096 /* of the data */ };

/* An expert of less than a page is no unit, so experts grow with the page. The sizes below are
 * those of a system with pages of 4 KiB. */
static uint64_t scale_of(const char *name)
{
    return strstr(name, "exp") ? piece_align_bytes() / 4096 : 1;
}

/* "name AxB name A ...": one file's tensors, U8. The last extent is scaled. */
static uint64_t add_shapes(const char *spec)
{
    char header[4089] = "{", name[256], shape[64];
    uint64_t offset = 0;
    int n = 1, n_read;

    for (; sscanf(spec, "%255s %63s%n", name, shape, &n_read) == 2; spec += n_read) {
        uint64_t bytes = 1;
        n += sprintf(header + n, "%s\"%s\":{\"dtype\":\"U8\",\"shape\":[", n > 1 ? "," : "", name);
        for (char *at = shape; *at; at += *at == 'x') {
            uint64_t extent = strtoull(at, &at, 10);
            extent *= *at == 'x' ? 1 : scale_of(name);
            bytes *= extent;
            n += sprintf(header + n, "%s%" PRIu64, header[n - 1] == '[' ? "" : ",", extent);
        }
        n += sprintf(header + n, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", offset,
                     offset + bytes);
        offset += bytes;
    }
    strcpy(header + n++, "}");
    memset(header + n, ' ', 4088 - (size_t)n);
    struct bytes bytes = safetensors_bytes(header, offset);
    read_file(&bytes);
    return offset;
}

static int compare(const void *left, const void *right)
{
    const uint64_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

/* Each byte of the file is in exactly one layer's pieces, and each tensor is in a piece. */
static void check_bytes(uint64_t n_bytes)
{
    uint64_t(*ranges)[2] = calloc(definition->n_layers * 8, sizeof *ranges), at = OFFSET;
    size_t n = 0;

    for (uint32_t i = 0; i < definition->n_layers; i++) {
        const struct layer_definition *layer = &definition->layers[i];
        uint64_t end = 0;
        for (uint32_t j = 0; j < layer->n_pieces; j++) {
            const struct piece *piece = &layer->pieces[j];
            ranges[n][0] = piece->file_offset_bytes;
            ranges[n++][1] = piece->file_offset_bytes + piece->bytes;
            end = piece->layer_offset_bytes + piece->bytes;
            ck_assert_uint_eq((layer->shift_bytes + piece->layer_offset_bytes) %
                                  piece_align_bytes(),
                              piece->file_offset_bytes % piece_align_bytes());
        }
        ck_assert_uint_eq(layer->bytes, end);
    }
    qsort(ranges, n, sizeof *ranges, compare);
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_eq(ranges[i][0], at);
        at = ranges[i][1];
    }
    ck_assert_uint_eq(at, OFFSET + n_bytes);
    free(ranges);
}

/* A layer and its tensors are "layer=tensor,tensor". */
static const struct {
    const char *tensors, *layers;
} slicings[] = {
    {"blk.0.norm 64 blk.0.ffn_up_exps.weight 3x64x65 blk.0.gate 3x8 blk.0.ffn_down_exps.weight "
     "3x65x64",
     "blk.0:1=blk.0.norm,blk.0.gate blk.0:u0=blk.0.ffn_up_exps.weight[0],blk.0.ffn_down_exps."
     "weight[0] blk.0:u1=blk.0.ffn_up_exps.weight[1],blk.0.ffn_down_exps.weight[1] "
     "blk.0:u2=blk.0.ffn_up_exps.weight[2],blk.0.ffn_down_exps.weight[2]"},
    /* The other tensor has another number of experts. */
    {"blk.1.ffn_up_exps.weight 2x8192 blk.1.ffn_down_exps.weight 3x4096",
     "blk.1:u0=blk.1.ffn_up_exps.weight[0] blk.1:u1=blk.1.ffn_up_exps.weight[1] "
     "blk.1:1=blk.1.ffn_down_exps.weight"},
    /* Another layer may have another number; a small expert is no unit. */
    {"blk.1.ffn_up_exps.weight 2x4096 blk.10.ffn_up_exps.weight 3x4096 blk.11.ffn_up_exps.weight "
     "3x4095",
     "blk.1:u0=blk.1.ffn_up_exps.weight[0] blk.1:u1=blk.1.ffn_up_exps.weight[1] "
     "blk.10:u0=blk.10.ffn_up_exps.weight[0] blk.10:u1=blk.10.ffn_up_exps.weight[1] "
     "blk.10:u2=blk.10.ffn_up_exps.weight[2] blk.11=blk.11.ffn_up_exps.weight"},
    {"model.layers.0.mlp.experts.gate_up_proj 2x8192 model.layers.0.mlp.experts.down_proj 2x4096",
     "model.layers.0:u0=model.layers.0.mlp.experts.gate_up_proj[0],model.layers.0.mlp.experts."
     "down_proj[0] "
     "model.layers.0:u1=model.layers.0.mlp.experts.gate_up_proj[1],model.layers.0.mlp.experts."
     "down_proj[1]"},
    {"h.0.mlp.experts.0.a 9 h.0.mlp.experts.1.a 9 h.0.mlp.experts.0.b 9 h.0.mlp.experts.1.b 9",
     "h.0:u0=h.0.mlp.experts.0.a,h.0.mlp.experts.0.b "
     "h.0:u1=h.0.mlp.experts.1.a,h.0.mlp.experts.1.b"},
    {"token_embd.weight 5x524288 blk.0.w 8",
     "token_embd:u0=token_embd.weight[0] token_embd:u1=token_embd.weight[1] "
     "token_embd:u2=token_embd.weight[2] blk.0=blk.0.w"},
    {"token_embd.weight 2x524288 blk.0.w 8", "token_embd=token_embd.weight blk.0=blk.0.w"},
    /* The table is less than half of the model. */
    {"token_embd.weight 3x524288 blk.0.w 1572865", "token_embd=token_embd.weight blk.0=blk.0.w"},
    /* Slices of about the same size of what is used in order, and of what is beside experts. */
    {"blk.0.w 9x1048576 blk.0.n 8", "blk.0:1=blk.0.n blk.0:2=blk.0.w[0] blk.0:3=blk.0.w[1]"},
    {"blk.0.w 2x8388608 blk.0.ffn_up_exps.weight 2x9000000",
     "blk.0:1=blk.0.w[0] blk.0:2=blk.0.w[1] blk.0:u0=blk.0.ffn_up_exps.weight[0] "
     "blk.0:u1=blk.0.ffn_up_exps.weight[1]"},
    {"token_embd.weight 2x8388608 output.weight 17x1048576",
     "token_embd:1=token_embd.weight[0] token_embd:2=token_embd.weight[1] "
     "output:1=output.weight[0] output:2=output.weight[1] output:3=output.weight[2]"},
    {"blk.0.w 9000000", "blk.0=blk.0.w"},
    {"blk.0.w 2x4194304", "blk.0=blk.0.w"},
    {"blk.0.ffn_up_exps.weight 0x4096 blk.0.w 8", "blk.0=blk.0.ffn_up_exps.weight,blk.0.w"},
};

START_TEST(slice)
{
    char text[4096] = "";

    uint64_t n_bytes = add_shapes(slicings[_i].tensors);
    int r = weights_group("m", files, n_files, UNIT_BYTES, &definition, &problem);
    ck_assert_msg(r == 0, "%s: %s", problem.path, problem.message);
    for (uint32_t i = 0; i < definition->n_layers; i++) {
        const struct layer_definition *layer = &definition->layers[i];
        sprintf(text + strlen(text), "%s%s", i ? " " : "", layer->name);
        for (uint32_t j = 0; j < layer->n_tensors; j++)
            sprintf(text + strlen(text), "%s%s", j ? "," : "=", layer->tensors[j].name);
    }
    ck_assert_str_eq(text, slicings[_i].layers);
    check_bytes(n_bytes);
}
END_TEST

/* Without units nothing is sliced. */
START_TEST(whole)
{
    add_shapes(slicings[0].tensors);
    ck_assert_int_eq(weights_group("m", files, n_files, 0, &definition, &problem), 0);
    ck_assert_uint_eq(definition->n_layers, 1);
    ck_assert_uint_eq(definition->layers[0].n_tensors, 4);
}
END_TEST

START_TEST(too_many)
{
    add_shapes("blk.0.ffn_up_exps.weight 60000x4096 blk.0.ffn_down_exps.weight 60000x4096 "
               "blk.1.ffn_up_exps.weight 60000x4096 blk.1.ffn_down_exps.weight 60000x4096 "
               "blk.2.ffn_up_exps.weight 60000x4096");
    ck_assert_int_eq(weights_group("m", files, n_files, UNIT_BYTES, &definition, &problem),
                     -EBADMSG);
    ck_assert_str_eq(problem.path, "blk.2.ffn_up_exps.weight");
    begin();
    add_shapes("blk.0.ffn_up_exps.weight 60000x4096 blk.1.ffn_up_exps.weight 60000x4096");
    ck_assert_int_eq(weights_group("m", files, n_files, UNIT_BYTES, &definition, &problem),
                     -EBADMSG);
    ck_assert_int_eq(strncmp(problem.path, "blk.1.ffn_up_exps.weight[", 25), 0);
    ck_assert_str_eq(problem.message, "the tensors make 120000 layers, more than 100000");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weights_slice");
    TCase *tests = tcase_create("weights_slice");

    tcase_add_loop_test(tests, slice, 0, COUNT(slicings));
    tcase_add_test(tests, whole);
    tcase_add_test(tests, too_many);
    tcase_add_checked_fixture(tests, NULL, begin);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
