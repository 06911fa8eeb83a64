/* Parts of texts, and what jansson takes for a text. */
#include "common/json_outline.h"
#include "common/json_scan.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct json_limits limits = {.max_bytes = 1 << 20, .max_depth = 8, .max_values = 20};

/* Of a text "{...}": the outline, and then each element, a line each. */
static void describe(const char *text, char *out, size_t size)
{
    struct json_part whole = json_whole(text, strlen(text)), part;
    struct json_elements elements;
    struct json_problem problem;
    FILE *stream = fmemopen(out, size, "w");
    json_t *json;

    int r = json_parse_outline(&whole, "a", &limits, &json, &elements, &problem);
    if (r == 0) {
        char *outline = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
        fputs(outline, stream);
        free(outline);
        json_decref(json);
        size_t n = json_count_elements(&elements), n_found = 0;
        while ((r = json_next_element(&elements, &part, &problem)) > 0) {
            n_found++;
            fprintf(stream, "|%.*s", (int)(part.end - part.begin), part.text + part.begin);
        }
        if (r == 0)
            ck_assert_uint_eq(n, n_found);
    }
    if (r < 0)
        fprintf(stream, "!%u:%u %s", problem.line, problem.column, problem.message);
    fclose(stream);
}

START_TEST(splits)
{
    static const struct {
        const char *text, *expected;
    } texts[] = {
        {"{}", "{}"},
        {" \n{\"a\":[]}\t", "{\"a\":[]}"},
        {"{\"a\":[ ]}", "{\"a\":[]}"},
        {"{\"a\" : [1,{\"b\":[2,3]} , \"],\\\"\"], \"c\":[4]}",
         "{\"a\":[],\"c\":[4]}|1|{\"b\":[2,3]}|\"],\\\"\""},
        {"{\"b\":\"a\",\"c\":{\"a\":[1]},\"a\":[2]}", "{\"b\":\"a\",\"c\":{\"a\":[1]},\"a\":[]}|2"},
        {"{\"a\":{\"x\":1,\"y\":2}}", "{\"a\":{}}|\"x\":1|\"y\":2"},
        {"{\"a\":7}", "{\"a\":7}"},
        {"[\"a\",[1]]", "[\"a\",[1]]"},
        /* What is malformed between the parts. */
        {"{\"a\":[1,,2]}", "{\"a\":[]}|1!1:9 a value is expected"},
        {"{\"a\":[1,\n]}", "{\"a\":[]}|1!2:1 a value is expected"},
        {"{\"a\":[,]}", "{\"a\":[]}!1:7 a value is expected"},
        {"{\"a\":[1}}", "!1:8 a value is expected"},
        {"{\"a\":[1", "!1:8 ',' or ']' is expected"},
        {"{\"a\":[1]", "!1:9 ',' or '}' is expected"},
        {"{\"a\":[1]\n x}", "!2:2 ',' or '}' is expected"},
        {"{\"a\":[\n1],\n\"a\":[2]}", "!3:1 duplicate key"},
        {"", "!1:1 an object or an array is expected"},
        /* A part has limits of its own. */
        {"{\"b\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16],\"a\":[1]}", "!1:43 more than 20 values"},
    };
    char found[512];

    describe(texts[_i].text, found, sizeof found);
    ck_assert_str_eq(found, texts[_i].expected);
}
END_TEST
enum { N_SPLITS = 18 };

START_TEST(positions_in_parts)
{
    static const char text[] = "{\"a\":\n[1,\n {\"b\":x}]}";
    struct json_part part = {text, 11, strlen(text) - 2};
    struct json_problem problem;
    json_t *json;

    ck_assert_int_eq(json_parse_part(&part, &limits, &json, &problem), -EBADMSG);
    ck_assert_uint_eq(problem.line, 3);
    ck_assert_uint_eq(problem.column, 7);
    ck_assert_str_eq(problem.message, "not a JSON value");
    part.begin++;
    ck_assert(!json_part_is_object(&part));
}
END_TEST

static size_t held_bytes, peak_bytes;

static size_t chunk_bytes(void *memory)
{
    return memory ? malloc_usable_size(memory) + sizeof(size_t) : 0;
}

static void *count(size_t n_bytes)
{
    void *memory = malloc(n_bytes);

    held_bytes += chunk_bytes(memory);
    peak_bytes = held_bytes > peak_bytes ? held_bytes : peak_bytes;
    return memory;
}

static void uncount(void *memory)
{
    held_bytes -= chunk_bytes(memory);
    free(memory);
}

static const char *const units[] = {
    "{}",       "[]",
    "0",        "\"012345678901\"",
    "\"#\":{}", "\"#\":\"012345678\"",
    "\"#\":0",  "{\"a\":0}",
    "1.5",      "{\"tensors\":[{\"shape\":[],\"dtype\":\"i8\",\"name\":\"#\"}]}",
};

/* Also at the size at which jansson's tables have just grown. */
START_TEST(tree_bytes)
{
    static const struct json_limits many = {
        .max_bytes = SIZE_MAX, .max_depth = 8, .max_values = SIZE_MAX};
    enum { GROWN = (1 << 16) + 1 };
    bool is_object = units[_i][0] == '"' && strchr(units[_i], ':');
    struct json_problem problem;
    size_t n_bytes;
    json_t *json;
    char *text;

    FILE *stream = open_memstream(&text, &n_bytes);
    for (unsigned i = 0; i < GROWN; i++) {
        fputc(i > 0 ? ',' : is_object ? '{' : '[', stream);
        for (const char *c = units[_i]; *c; c++)
            if (*c == '#')
                fprintf(stream, "%u", i);
            else
                fputc(*c, stream);
    }
    fputc(is_object ? '}' : ']', stream);
    fclose(stream);
    held_bytes = peak_bytes = 0;
    json_set_alloc_funcs(count, uncount);
    ck_assert_int_eq(json_parse(text, n_bytes, &many, &json, &problem), 0);
    json_decref(json);
    json_set_alloc_funcs(malloc, free);
    ck_assert_uint_le(peak_bytes, json_tree_bytes(text, n_bytes));
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_outline");
    TCase *tcase = tcase_create("json_outline");

    tcase_add_loop_test(tcase, splits, 0, N_SPLITS);
    tcase_add_test(tcase, positions_in_parts);
    tcase_add_loop_test(tcase, tree_bytes, 0, COUNT(units));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
