/* Grouping by names, and that every layer's bytes are placed for direct reads. */
#include "common/formats/weights.h"
#include "tests/unit/case_step.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/weights_fixture.h"

#include <stdio.h>

static void group(void)
{
    uint32_t n_tensors = 0;

    definition_unref(definition);
    definition = NULL;
    int r = weights_group("m", files, n_files, 0, &definition, &problem);
    ck_assert_msg(r == 0, "%s: %s", problem.path, problem.message);
    check_definition();
    for (uint32_t i = 0; i < definition->n_layers; i++)
        n_tensors += definition->layers[i].n_tensors;
    for (uint32_t i = 0; i < n_files; i++)
        n_tensors -= files[i]->n_entries;
    ck_assert_uint_eq(n_tensors, 0);
    ck_assert_ptr_null(definition->weights);
}

/* The layer of that name. */
static const struct layer_definition *layer_named(const char *name)
{
    return &definition->layers[definition_find_layer(definition, name)];
}

/* Layers in order, for tensors in the order of the file. */
static const struct {
    const char *tensors, *layers;
} orders[] = {
    /* llama.cpp */
    {"output.weight 9 token_embd.weight 9 blk.0.attn_q.weight 9 blk.0.ffn_up.weight 9 "
     "blk.10.a 9 blk.2.a 9 blk.1.a 9 output_norm.weight 9 rope_freqs.weight 9",
     "token_embd rope_freqs blk.0 blk.1 blk.2 blk.10 output_norm output"},
    /* Llama, sorted by name as transformers do */
    {"lm_head.weight 9 model.embed_tokens.weight 9 model.layers.0.mlp.experts.1.w 9 "
     "model.layers.0.mlp.experts.0.w 9 model.layers.10.x 9 model.layers.2.x 9 model.norm.weight 9",
     "model.embed_tokens model.layers.0 model.layers.2 model.layers.10 model.norm lm_head"},
    /* GPT-2 */
    {"h.0.attn.bias 9 h.1.attn.bias 9 ln_f.bias 9 ln_f.weight 9 wpe.weight 9 wte.weight 9",
     "wpe wte h.0 h.1 ln_f"},
    {"transformer.h.0.w 9 transformer.ln_f.w 9 transformer.wte.w 9 lm_head.weight 9",
     "transformer.wte transformer.h.0 transformer.ln_f lm_head"},
    /* GPT-NeoX, whose head has an embedding's name */
    {"embed_out.weight 9 gpt_neox.embed_in.weight 9 gpt_neox.final_layer_norm.bias 9 "
     "gpt_neox.layers.0.w 9",
     "gpt_neox.embed_in gpt_neox.layers.0 gpt_neox.final_layer_norm embed_out"},
    /* BERT */
    {"bert.embeddings.LayerNorm.bias 9 bert.embeddings.word_embeddings.weight 9 "
     "bert.encoder.layer.0.w 9 bert.encoder.layer.1.w 9 bert.pooler.dense.bias 9 "
     "cls.predictions.bias 9",
     "bert.embeddings.LayerNorm bert.embeddings.word_embeddings bert.encoder.layer.0 "
     "bert.encoder.layer.1 bert.pooler.dense cls.predictions"},
    /* T5: the decoder comes after the encoder */
    {"decoder.block.0.w 9 decoder.embed_tokens.weight 9 decoder.final_layer_norm.weight 9 "
     "encoder.block.0.w 9 encoder.block.1.w 9 encoder.final_layer_norm.weight 9 lm_head.weight 9 "
     "shared.weight 9",
     "shared encoder.block.0 encoder.block.1 encoder.final_layer_norm decoder.embed_tokens "
     "decoder.block.0 decoder.final_layer_norm lm_head"},
    {"dec.blk.0.w 9 dec.output_norm.weight 9 enc.blk.0.w 9 enc.output_norm.weight 9 "
     "token_embd.weight 9",
     "token_embd enc.blk.0 enc.output_norm dec.blk.0 dec.output_norm"},
    /* Whisper: both stacks share "model" */
    {"model.decoder.embed_positions.weight 9 model.decoder.layer_norm.bias 9 "
     "model.decoder.layers.0.w 9 model.encoder.conv1.weight 9 model.encoder.layer_norm.bias 9 "
     "model.encoder.layers.0.w 9",
     "model.encoder.conv1 model.encoder.layers.0 model.encoder.layer_norm "
     "model.decoder.embed_positions model.decoder.layers.0 model.decoder.layer_norm"},
    /* A vision tower beside a language model */
    {"language_model.lm_head.weight 9 language_model.model.embed_tokens.weight 9 "
     "language_model.model.layers.0.w 9 language_model.model.norm.weight 9 "
     "multi_modal_projector.linear_1.weight 9 "
     "vision_tower.vision_model.embeddings.patch_embedding.weight 9 "
     "vision_tower.vision_model.encoder.layers.0.w 9 "
     "vision_tower.vision_model.post_layernorm.weight 9",
     "vision_tower.vision_model.embeddings.patch_embedding "
     "vision_tower.vision_model.encoder.layers.0 vision_tower.vision_model.post_layernorm "
     "language_model.model.embed_tokens language_model.model.layers.0 language_model.model.norm "
     "language_model.lm_head multi_modal_projector.linear_1"},
    /* Unknown words: where the bytes are */
    {"alpha.w 9 b.0.w 9 beta.w 9", "alpha b.0 beta"},
    /* No blocks at all */
    {"fc1.weight 9 fc1.bias 9 fc2.weight 9 head.weight 9 act.w 9 embed.w 9",
     "embed fc1 fc2 act head"},
    /* Numbers: the first component that is one; leading zeros and the like */
    {"0.weight 9 2.weight 9 10.weight 9", "0 2 10"},
    {"x.00.w 9 x.1.w 9 x.0.b 9", "x.00 x.1"},
    {"features.3.conv.7.w 9 features.3 9 features.w 9", "features.3 features"},
    {"a.123456789012.w 9 a.5x.w 9 a.-1.w 9", "a.123456789012 a.5x a.-1"},
    {"w 9 w.x 9 .y 9 ..z 9 v. 9", "w .y . v"},
};

START_TEST(order)
{
    add_file(orders[_i].tensors);
    group();
    char layers[1024] = "";

    for (uint32_t i = 0; i < definition->n_layers; i++)
        sprintf(layers + strlen(layers), "%s%s", i ? " " : "", definition->layers[i].name);
    ck_assert_str_eq(layers, orders[_i].layers);
}
END_TEST

START_TEST(order_of_tensors)
{
    add_file("b.1.z 4 b.0.z 4 b.0.y 4");
    add_file("b.0.a 4 b.1.a 4");
    group();
    static const char *const expected[] = {"b.0.z", "b.0.y", "b.0.a"};

    ck_assert_uint_eq(definition->n_layers, 2);
    ck_assert_uint_eq(definition->layers[0].n_tensors, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_str_eq(definition->layers[0].tensors[i].name, expected[i]);
    ck_assert_str_eq(dtype_name(definition->layers[0].tensors[0].type), "U8");
    ck_assert_uint_eq(definition->layers[0].tensors[0].shape[0], 4);
}
END_TEST

/* Pieces as "source:file offset+bytes@layer offset", and the layer's shift. */
static const struct {
    const char *tensors;
    uint32_t alignment; /* 0: safetensors, whose data begins at byte 4096; else GGUF */
    const char *pieces; /* of layer "a.0" */
    uint64_t shift_bytes, bytes, page_kib; /* where the system's page has so many; 0: 4 */
} placements[] = {
    {"a.0.x 100 a.0.y 50", 0, "0:4096+150@0", 0, 150},
    {"b.w 10 a.0.x 100 a.0.y 50", 0, "0:4106+150@0", 10, 150},
    {"b.w 5000 a.0.x 1", 0, "0:9096+1@0", 904, 1},
    /* Another layer between: the next block, congruent. */
    {"a.0.x 100 b.w 1 a.0.y 50", 0, "0:4096+100@0 0:4197+50@4197", 0, 4247},
    {"b.w 10 a.0.x 100 b.v 4000 a.0.y 50", 0, "0:4106+100@0 0:8206+50@4100", 10, 4150},
    /* The first piece ends at the end of its block, and the next one begins there. */
    {"a.0.x 4096 b.w 4096 a.0.y 1", 0, "0:4096+4096@0 0:12288+1@4096", 0, 4097},
    {"a.0.x 4097 b.w 4095 a.0.y 1", 0, "0:4096+4097@0 0:12288+1@8192", 0, 8193},
    {"b.w 96 a.0.x 4000 b.v 1 a.0.y 4096 b.u 1 a.0.z 1", 0,
     "0:4192+4000@0 0:8193+4096@4001 0:12290+1@12194", 96, 12195},
    /* Tensors without bytes do not separate pieces and have no piece. */
    {"a.0.x 100 b.w 0 a.0.e 0 a.0.y 50 b.v 5", 0, "0:4096+150@0", 0, 150},
    {"a.0.e 0 a.0.x 7 b.v 5", 0, "0:4096+7@0", 0, 7},
    /* Padding: the header of these GGUF files ends so that the data begins at byte 192. */
    {"a.0.x 100 a.0.y 50", 32, "0:160+178@0", 160, 178},
    {"a.0.x 100 b.w 5 a.0.y 50", 32, "0:192+100@0 0:352+50@4256", 192, 4306},
    {"a.0.x 1 a.0.y 1", 2048, "0:2048+2049@0", 2048, 2049},
    {"a.0.x 1 a.0.y 1", 4096, "0:4096+4097@0", 0, 4097},
    {"a.0.x 1 a.0.y 1", 8192, "0:8192+1@0 0:16384+1@4096", 0, 4097},
    {"a.0.x 12288 b.w 16384 a.0.y 1", 0, "0:4096+12288@0 0:32768+1@12288", 4096, 12289, 16},
    {"a.0.x 1 a.0.y 1", 32768, "0:32768+1@0 0:65536+1@16384", 0, 16385, 16},
    {"a.0.x 61440 b.w 65536 a.0.y 1", 0, "0:4096+61440@0 0:131072+1@61440", 4096, 61441, 64},
};

START_TEST(placement)
{
    if ((placements[_i].page_kib ?: 4) << 10 != piece_align_bytes())
        return;
    if (placements[_i].alignment)
        add_gguf(placements[_i].tensors, placements[_i].alignment);
    else
        add_file(placements[_i].tensors);
    group();
    const struct layer_definition *layer = layer_named("a.0");
    char pieces[512] = "";

    for (uint32_t i = 0; i < layer->n_pieces; i++)
        sprintf(pieces + strlen(pieces), "%s%u:%" PRIu64 "+%" PRIu64 "@%" PRIu64, i ? " " : "",
                layer->pieces[i].source, layer->pieces[i].file_offset_bytes, layer->pieces[i].bytes,
                layer->pieces[i].layer_offset_bytes);
    ck_assert_str_eq(pieces, placements[_i].pieces);
    ck_assert_uint_eq(layer->shift_bytes, placements[_i].shift_bytes);
    ck_assert_uint_eq(layer->bytes, placements[_i].bytes);
}
END_TEST

START_TEST(across_files)
{
    add_file("b.w 10 a.0.x 100");
    add_file("a.0.y 7 b.v 3");
    group();
    const struct layer_definition *layer = layer_named("a.0");

    ck_assert_uint_eq(layer->n_pieces, 2);
    ck_assert_uint_eq(layer->pieces[0].source, 0);
    ck_assert_uint_eq(layer->pieces[1].source, 1);
    ck_assert_uint_eq(layer->pieces[1].layer_offset_bytes, piece_align_bytes() - 10);
    ck_assert_uint_eq(layer->tensors[1].offset_bytes, piece_align_bytes() - 10);
}
END_TEST

START_TEST(random_models)
{
    static const char *const prefixes[] = {"a",   "b",         "lm_head", "m.norm", "m.layers.",
                                           "h.",  "encoder.",  "dec.",    "x.y.",   "embed",
                                           "m.q", "m.layers.", "h.",      "norm"};
    unsigned seed = test_seed(), state = seed;

    printf("seed %u\n", seed);
    for (int round = 0; round < 300; round += case_step()) {
        uint32_t n_wanted = 1 + (uint32_t)rand_r(&state) % FILES_MAX;
        int n_tensors = 0;
        begin();
        for (uint32_t i = 0; i < n_wanted; i++) {
            char spec[2048] = "";
            for (int n = 1 + rand_r(&state) % 25; n > 0; n--) {
                const char *prefix = prefixes[rand_r(&state) % COUNT(prefixes)];
                bool block = prefix[strlen(prefix) - 1] == '.';
                int sizes[] = {0, 1, 7, 32, 4095, 4096, 4097, 100000, rand_r(&state) % 20000};
                sprintf(spec + strlen(spec), "%s%d.t%d %d ", prefix, block ? rand_r(&state) % 3 : 7,
                        n_tensors++, sizes[rand_r(&state) % COUNT(sizes)]);
            }
            /* Every layer has bytes. */
            if (i == 0)
                for (int j = 0; j < COUNT(prefixes); j++)
                    for (int k = 0; k < 3; k++) {
                        bool block = prefixes[j][strlen(prefixes[j]) - 1] == '.';
                        if (block || k == 0)
                            sprintf(spec + strlen(spec), "%s%d.t%d 1 ", prefixes[j], block ? k : 7,
                                    n_tensors++);
                    }
            if (rand_r(&state) % 2)
                add_file(spec);
            else
                add_gguf(spec, 1u << rand_r(&state) % 14);
        }
        group();
    }
}
END_TEST

static void check_layers_tensors(const struct layer_definition *layer, const char *name,
                                 const char *names)
{
    char text[256] = "";
    ck_assert_str_eq(layer->name, name);
    for (uint32_t i = 0; i < layer->n_tensors; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i > 0 ? " " : "",
                 layer->tensors[i].name);
    ck_assert_str_eq(text, names);
}

/* Empty buffers and extra states: they alone do not make a layer, but these tensors are kept. */
START_TEST(layers_without_bytes)
{
    add_file("blk.0.a 0 blk.1.a 3 blk.2.a 0 blk.2.b 0 blk.3.a 5 "
             "blk.3.b 0 output.w 0");
    group();
    ck_assert_uint_eq(definition->n_layers, 2);
    ck_assert_uint_eq(definition->bytes, 8);
    check_layers_tensors(&definition->layers[0], "blk.1", "blk.0.a blk.1.a");
    check_layers_tensors(&definition->layers[1], "blk.3",
                         "blk.2.a blk.2.b blk.3.a blk.3.b output.w");
    ck_assert_uint_eq(definition->layers[1].tensors[0].n_dims, 1);
    ck_assert_uint_eq(definition->layers[1].tensors[0].shape[0], 0);
}
END_TEST

static void refuse_group(const char *path, const char *message)
{
    problem = (struct definition_problem){.line = 77};
    ck_assert_int_eq(weights_group("m", files, n_files, 0, &definition, &problem), -EBADMSG);
    ck_assert_ptr_null(definition);
    ck_assert_str_eq(problem.message, message);
    ck_assert_str_eq(problem.path, path);
    ck_assert_uint_eq(problem.line, 0);
}

START_TEST(refused_groups)
{
    add_file("a.w 1 b.w 1");
    add_file("c.w 1");
    add_file("d.w 1 b.w 1");
    refuse_group("b.w", "is in two of the weight files, number 1 and number 3");

    begin();
    add_file("a.w 0 b.w 0 b.v 0");
    refuse_group("", "no tensor has any bytes");

    /* Unrealistic but possible with sparse files: three of 2^63 - 1 bytes. */
    begin();
    for (int i = 0; i < 3; i++) {
        char spec[64];
        sprintf(spec, "a.%c 9223372036854770000", 'x' + i);
        add_file(spec);
    }
    refuse_group("layers[0]", "the layer has more than 2^64 - 1 bytes");

    begin();
    for (int i = 0; i < 3; i++) {
        char spec[64];
        sprintf(spec, "a.%d.w 9223372036854770000", i);
        add_file(spec);
    }
    refuse_group("layers[2]", "the model has more than 2^64 - 1 bytes");
}
END_TEST

START_TEST(too_many_layers)
{
    static const uint64_t one = 1;

    for (int n = DEFINITION_LAYERS_MAX; n <= DEFINITION_LAYERS_MAX + 1; n++) {
        struct bytes bytes = {0};
        begin();
        gguf_header(&bytes, 3, (uint64_t)n, 0);
        for (int i = 0; i < n; i++) {
            char name[32];
            snprintf(name, sizeof name, "b.%d", i);
            gguf_tensor(&bytes, name, 1, &one, 24, (uint64_t)i * 32);
        }
        gguf_data(&bytes, 32, (uint64_t)n * 32);
        read_file(&bytes);
        if (n > DEFINITION_LAYERS_MAX) {
            refuse_group("", "the tensors make 100001 layers, more than 100000");
        } else {
            group();
            ck_assert_uint_eq(definition->n_layers, DEFINITION_LAYERS_MAX);
            ck_assert_str_eq(definition->layers[n - 1].name, "b.99999");
        }
    }
}
END_TEST

START_TEST(many_families)
{
    /* More families than are compared with modules, each with a single block. */
    char spec[3000] = "lm_head.w 1 embed.w 1 ";

    for (int i = 0; i < 70; i++)
        sprintf(spec + strlen(spec), "f%d.0 1 ", i);
    strcat(spec, "f3.norm.w 1");
    add_gguf(spec, 32);
    group();
    ck_assert_uint_eq(definition->n_layers, 73);
    ck_assert_str_eq(definition->layers[0].name, "embed");
    ck_assert_str_eq(definition->layers[70].name, "f69.0");
    ck_assert_str_eq(definition->layers[71].name, "f3.norm");
    ck_assert_str_eq(definition->layers[72].name, "lm_head");
}
END_TEST

START_TEST(model_name)
{
    static const struct {
        const char *name, *expected;
    } cases[] = {
        {"Llama 3", "Llama 3"},
        {"meta/llama", "meta-llama"},
        {"", "model"},
        {"a\tb\x7f"
         "c\xc2\x85"
         "d",
         "a-b-c-d"},
        {"\xc3\xa9\xff\xc3", "\xc3\xa9--"},
        {"\xed\xa0\x80", "---"},
    };
    char name[300], expected[DEFINITION_NAME_MAX + 1];

    for (int i = 0; i < COUNT(cases); i++) {
        begin();
        add_file("a.w 1");
        ck_assert_int_eq(weights_group(cases[i].name, files, 1, 0, &definition, &problem), 0);
        ck_assert_str_eq(definition->name, cases[i].expected);
    }
    /* Cut between characters. */
    memset(name, 'x', sizeof name);
    memcpy(name + DEFINITION_NAME_MAX - 1, "\xc3\xa9", 3);
    memset(expected, 'x', sizeof expected);
    expected[DEFINITION_NAME_MAX - 1] = '\0';
    begin();
    add_file("a.w 1");
    ck_assert_int_eq(weights_group(name, files, 1, 0, &definition, &problem), 0);
    ck_assert_str_eq(definition->name, expected);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weights");
    TCase *tests = tcase_create("weights");

    tcase_add_loop_test(tests, order, 0, COUNT(orders));
    tcase_add_test(tests, order_of_tensors);
    tcase_add_loop_test(tests, placement, 0, COUNT(placements));
    tcase_add_test(tests, across_files);
    tcase_add_test(tests, random_models);
    tcase_add_test(tests, layers_without_bytes);
    tcase_add_test(tests, refused_groups);
    tcase_add_test(tests, too_many_layers);
    tcase_add_test(tests, many_families);
    tcase_add_test(tests, model_name);
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, NULL, begin);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
