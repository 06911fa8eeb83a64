/* A replayed route trace as text. */
#include "client/emctl/output.h"
#include "tests/unit/output_fixture.h"
#include "tests/unit/run_suite.h"

#include <check.h>

#define TRACE "'capacityBytes': 1048576, 'layers': 2, 'tokens': 3, 'uses': 8, 'expertBytes': 2048"
#define LRU   "{'policy': 'lru', 'hits': 2, 'bytesRead': 6144, 'bytesPerToken': 2048}"
#define HEAD  "3 tokens use experts 8 times in 2 layers; 1.0 MiB for experts of 2.0 KiB\n"

/* ' stands for ". */
static int show(const char *parameters, char **ret_text)
{
    char json[512];
    int r;

    ck_assert_uint_lt(strlen(parameters), sizeof json);
    strcpy(json, parameters);
    for (char *at = json; (at = strchr(at, '\'')) != NULL;)
        *at = '"';
    *ret_text = shown(&output_text, output_text.replay, &subject, json, &r);
    return r;
}

START_TEST(test_table)
{
    char *text;

    ck_assert_int_eq(show("{" TRACE ", 'denseBytes': 0, 'policies': [" LRU "]}", &text), 0);
    ck_assert_str_eq(text, HEAD "POLICY HIT-RATE READ/TOKEN\n"
                                "lru       25.0%    2.0 KiB\n");
    free(text);
    ck_assert_int_eq(show("{" TRACE ", 'denseBytes': 1024, 'policies': [" LRU
                          ", {'policy': 'x', 'hits': 8, 'bytesRead': 0, 'bytesPerToken': 0,"
                          " 'tokensPerSecond': 12.34}]}",
                          &text),
                     0);
    ck_assert_str_eq(text, HEAD "POLICY HIT-RATE READ/TOKEN TOKENS/S\n"
                                "lru       25.0%    2.0 KiB        -\n"
                                "x        100.0%        0 B     12.3\n"
                                "Each token also uses 1.0 KiB outside the experts, not counted "
                                "here.\n");
    free(text);
}
END_TEST

START_TEST(test_model)
{
    char *text;

    ck_assert_int_eq(show("{" TRACE ", 'denseBytes': 1024, 'model': 'm', 'expertsUsed': 4,"
                          " 'tableBytes': 512, 'tokenBytes': 3072, 'policies': [" LRU "]}",
                          &text),
                     0);
    ck_assert_str_eq(text,
                     "m has experts of 2.0 KiB in 2 layers; all else is 1.0 KiB, and tables of "
                     "which a token reads a row 512 B\n"
                     "1.0 MiB hold all else, and 1023.0 KiB of experts; a token uses 4 experts in "
                     "each layer, 3.0 KiB with all else\n"
                     "POLICY HIT-RATE READ/TOKEN\n"
                     "lru       25.0%    2.0 KiB\n"
                     "assumed, as within one text: a quarter of the choices repeat one of the last "
                     "token; the others are among a third of the experts\n");
    free(text);
}
END_TEST

START_TEST(test_wrong_replies)
{
    static const char *const replies[] = {
        "{}",
        "{" TRACE ", 'denseBytes': 0}",
        "{" TRACE ", 'denseBytes': 0, 'policies': [1]}",
        "{" TRACE ", 'denseBytes': 0, 'policies': [{'policy': 'lru', 'hits': 1}]}",
    };

    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        char *text;
        ck_assert_int_eq(show(replies[i], &text), -EBADMSG);
        free(text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("output_replay");
    TCase *tcase = tcase_create("output_replay");
    tcase_add_test(tcase, test_table);
    tcase_add_test(tcase, test_model);
    tcase_add_test(tcase, test_wrong_replies);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
