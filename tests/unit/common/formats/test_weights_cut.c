/* Large layers that are cut into units. */
#include "common/formats/weights.h"
#include "tests/unit/case_step.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/weights_fixture.h"

#include <stdio.h>
#include <string.h>

/* With units of 64 bytes, so that tensors of 8 bytes or more are parts of their own. A layer and
 * its tensors are "layer=tensor,tensor". */
static const struct {
    const char *tensors, *layers;
} cuts[] = {
    {"b.0.x 32 b.0.y 32 e.w 64", "b.0=b.0.x,b.0.y e=e.w"}, /* small enough */
    {"b.0.x 100", "b.0=b.0.x"},                            /* one tensor */
    {"b.0.q 40 b.0.k 40 b.1.q 9", "b.0:1=b.0.q b.0:2=b.0.k b.1=b.1.q"},
    {"b.0.norm 4 b.0.q 40 b.0.bias 7 b.0.k 40", "b.0:1=b.0.norm,b.0.bias b.0:2=b.0.q b.0:3=b.0.k"},
    {"b.0.q 40 b.0.k 40 b.0.norm 4", "b.0:1=b.0.norm b.0:2=b.0.q b.0:3=b.0.k"},
    {"b.0.q 40 b.0.none 0 b.0.k 40", "b.0:2=b.0.none,b.0.q b.0:3=b.0.k"},
    {"b.0.norm 4 b.0.q 20 b.0.k 20 b.0.v 20 b.0.up 40 b.0.o 24",
     "b.0:1=b.0.norm b.0:2=b.0.q,b.0.k,b.0.v b.0:3=b.0.up,b.0.o"},
    {"e.w 40 b.0.q 9 e.v 40", "e:1=e.w e:2=e.v b.0=b.0.q"},
};

static void describe(char *text)
{
    *text = '\0';
    for (uint32_t i = 0; i < definition->n_layers; i++) {
        const struct layer_definition *layer = &definition->layers[i];
        sprintf(text + strlen(text), "%s%s", i ? " " : "", layer->name);
        for (uint32_t j = 0; j < layer->n_tensors; j++)
            sprintf(text + strlen(text), "%s%s", j ? "," : "=", layer->tensors[j].name);
    }
}

START_TEST(cut)
{
    char text[1024];

    add_file(cuts[_i].tensors);
    int r = weights_group("m", files, n_files, 64, &definition, &problem);
    ck_assert_msg(r == 0, "%s: %s", problem.path, problem.message);
    check_definition();
    describe(text);
    ck_assert_str_eq(text, cuts[_i].layers);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weights_cut");
    TCase *tests = tcase_create("weights_cut");

    tcase_add_loop_test(tests, cut, 0, COUNT(cuts));
    tcase_add_checked_fixture(tests, NULL, begin);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
