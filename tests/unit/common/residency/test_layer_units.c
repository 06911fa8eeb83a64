/* Which tensors are cut into experts or chunks, which are not, and why. */
#include "common/residency/layer_units.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <string.h>

enum { TENSORS_MAX = 8 };

static uint64_t shapes[TENSORS_MAX][3];
static struct tensor tensors[TENSORS_MAX];
static uint32_t n_tensors;
static struct unit_group *groups;
static size_t n_groups;

/* A tensor of [outermost, middle, innermost]. */
static void add(const char *name, const char *type, uint64_t outer, uint64_t middle, uint64_t inner)
{
    struct tensor *tensor = &tensors[n_tensors];
    uint64_t *shape = shapes[n_tensors++];

    memcpy(shape, (uint64_t[]){outer, middle, inner}, sizeof shapes[0]);
    *tensor = (struct tensor){.name = name, .shape = shape, .n_dims = 3};
    ck_assert_int_eq(dtype_parse(type, &tensor->type), 0);
    ck_assert_int_eq(dtype_bytes(tensor->type, outer * middle * inner, &tensor->bytes), 0);
}

static void find(size_t n_expected)
{
    ck_assert_int_eq(layer_units_find(tensors, n_tensors, &groups, &n_groups), 0);
    ck_assert_uint_eq(n_groups, n_expected);
}

static void start(void)
{
    n_tensors = 0;
    groups = NULL;
}

static void end(void)
{
    free(groups);
}

static void assert_group(size_t at, enum unit_kind kind, uint64_t n_units, uint64_t unit_bytes,
                         uint64_t bytes)
{
    ck_assert_int_eq(groups[at].kind, kind);
    ck_assert_uint_eq(groups[at].n_units, n_units);
    ck_assert_uint_eq(groups[at].unit_bytes, unit_bytes);
    ck_assert_uint_eq(groups[at].bytes, bytes);
    ck_assert_ptr_null(groups[at].uncut);
}

START_TEST(test_gguf)
{
    add("blk.3.attn_q.weight", "F16", 1, 4, 8);
    add("blk.3.ffn_gate_inp.weight", "F32", 1, 6, 8);
    add("blk.3.ffn_gate_exps.weight", "Q4_K", 6, 2, 256);
    add("blk.3.ffn_up_exps.weight", "Q4_K", 6, 2, 256);
    add("blk.3.ffn_down_exps.weight", "Q6_K", 6, 2, 256);
    add("blk.3.ffn_up_shexp.weight", "F32", 6, 2, 4);
    find(4);
    assert_group(0, UNIT_EXPERT, 6, 2 * 2 * 144 + 2 * 210, (uint64_t)6 * (2 * 2 * 144 + 2 * 210));
    ck_assert_uint_eq(groups[0].n_tensors, 3);
    ck_assert_str_eq(groups[0].name, "blk.3.ffn_gate_exps.weight");
    assert_group(1, UNIT_TENSOR, 1, 64, 64);
    assert_group(2, UNIT_TENSOR, 1, 192, 192);
    assert_group(3, UNIT_TENSOR, 1, 192, 192);
}
END_TEST

START_TEST(test_gguf_gate_up)
{
    add("blk.0.ffn_gate_up_exps.weight", "MXFP4", 5, 4, 32);
    add("blk.0.ffn_gate_up_exps.bias", "F32", 5, 1, 4);
    find(1);
    assert_group(0, UNIT_EXPERT, 5, 4 * 17 + 16, 5 * (4 * 17 + 16));
}
END_TEST

START_TEST(test_safetensors_fused)
{
    add("model.layers.1.mlp.experts.gate_up_proj", "BF16", 4, 2, 8);
    add("model.layers.1.mlp.experts.down_proj_blocks", "U8", 4, 2, 8);
    add("model.layers.1.mlp.shared_experts.up_proj.weight", "BF16", 4, 2, 8);
    find(2);
    assert_group(0, UNIT_EXPERT, 4, 48, 192);
    assert_group(1, UNIT_TENSOR, 1, 128, 128);
}
END_TEST

/* The experts of a file need not be complete, and need not have the same size. */
START_TEST(test_safetensors_own_tensors)
{
    add("model.layers.1.mlp.experts.0.up_proj.weight", "BF16", 1, 2, 8);
    add("model.layers.1.mlp.experts.0.down_proj.weight", "BF16", 1, 2, 8);
    add("model.layers.1.mlp.experts.12.up_proj.weight", "BF16", 1, 2, 8);
    add("model.layers.1.mlp.experts.12.down_proj.weight", "F32", 1, 2, 8);
    add("model.layers.1.mlp.experts.65535.up_proj.weight", "BF16", 1, 2, 8);
    find(2);
    assert_group(0, UNIT_EXPERT, 2, 96, 160);
    ck_assert_uint_eq(groups[0].n_tensors, 4);
    assert_group(1, UNIT_TENSOR, 1, 32, 32);
}
END_TEST

START_TEST(test_tables)
{
    add("token_embd.weight", "F16", 1, 1 << 10, (1 << 10) + 1);
    add("model.language_model.embed_tokens_per_layer.weight", "F16", 1, 4, 8);
    add("blk.0.other_token_embd.weight", "F16", 1, 1 << 10, 1 << 10);
    add("output.weight", "F16", 1, 1 << 10, 1 << 10);
    find(4);
    assert_group(0, UNIT_CHUNK, 3, UNIT_CHUNK_BYTES, (2 << 20) + (2 << 10));
    assert_group(1, UNIT_TENSOR, 1, 64, 64);
    assert_group(2, UNIT_TENSOR, 1, 2 << 20, 2 << 20);
    assert_group(3, UNIT_TENSOR, 1, 2 << 20, 2 << 20);
}
END_TEST

/* Such a tensor is one unit. The others are cut. */
static void assert_uncut(const char *why)
{
    add("blk.0.ffn_down_exps.weight", "F16", 4, 2, 8);
    find(2);
    ck_assert_int_eq(groups[0].kind, UNIT_EXPERT);
    ck_assert_str_eq(groups[0].name, "blk.0.ffn_down_exps.weight");
    ck_assert_int_eq(groups[1].kind, UNIT_TENSOR);
    ck_assert_uint_eq(groups[1].n_units, 1);
    ck_assert_msg(strstr(groups[1].uncut, why), "%s", groups[1].uncut);
}

START_TEST(test_expert_ends_in_a_block)
{
    add("blk.0.ffn_up_exps.weight", "Q4_K", 4, 1, 64);
    assert_uncut("block");
}
END_TEST

START_TEST(test_experts_of_no_bytes)
{
    add("blk.0.ffn_up_exps.weight", "F16", 4, 0, 8);
    assert_uncut("no experts");
}
END_TEST

START_TEST(test_no_experts)
{
    add("blk.0.ffn_up_exps.weight", "F16", 0, 2, 8);
    assert_uncut("no experts");
}
END_TEST

START_TEST(test_too_many_experts)
{
    add("blk.0.ffn_up_exps.weight", "F16", 1000000, 2, 8);
    assert_uncut("65535");
}
END_TEST

START_TEST(test_experts_that_do_not_divide)
{
    add("blk.0.ffn_up_exps.weight", "F16", 4, 2, 8);
    tensors[0].bytes++;
    assert_uncut("divide");
}
END_TEST

START_TEST(test_other_number_of_experts)
{
    add("blk.0.ffn_up_exps.weight", "F16", 4, 2, 8);
    add("blk.0.ffn_down_exps.weight", "F16", 5, 2, 8);
    find(2);
    assert_group(0, UNIT_EXPERT, 4, 32, 128);
    ck_assert_uint_eq(groups[1].bytes, 160);
    ck_assert_msg(strstr(groups[1].uncut, "another number"), "%s", groups[1].uncut);
}
END_TEST

START_TEST(test_no_tensors)
{
    find(0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layer_units");
    TCase *tcase = tcase_create("layer_units");
    tcase_add_checked_fixture(tcase, start, end);
    tcase_add_test(tcase, test_gguf);
    tcase_add_test(tcase, test_gguf_gate_up);
    tcase_add_test(tcase, test_safetensors_fused);
    tcase_add_test(tcase, test_safetensors_own_tensors);
    tcase_add_test(tcase, test_tables);
    tcase_add_test(tcase, test_expert_ends_in_a_block);
    tcase_add_test(tcase, test_experts_of_no_bytes);
    tcase_add_test(tcase, test_no_experts);
    tcase_add_test(tcase, test_too_many_experts);
    tcase_add_test(tcase, test_experts_that_do_not_divide);
    tcase_add_test(tcase, test_other_number_of_experts);
    tcase_add_test(tcase, test_no_tensors);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
