/* The output of emctl for a reply. */
#pragma once

#include "client/emctl/output.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct subject subject = {.model = "m", .layer = "l"};

static struct output output;

/* Of `width` columns; 0: of as many as it takes. */
static inline void open_output(const struct output_ops *ops, unsigned width)
{
    FILE *file = tmpfile();

    ck_assert_ptr_nonnull(file);
    output_init(&output, ops, file);
    ck_assert_uint_eq(output.width, 0);
    ck_assert(!output.color);
    output.width = width;
}

/* The output, malloc'ed. */
static inline char *close_output(void)
{
    ck_assert_int_eq(output_flush(&output), 0);
    output_done(&output);
    size_t n = (size_t)ftell(output.stream);
    char *text = calloc(1, n + 1);
    rewind(output.stream);
    ck_assert_uint_eq(fread(text, 1, n, output.stream), n);
    fclose(output.stream);
    return text;
}

static inline size_t line_length(const char *line)
{
    return strcspn(line, "\n");
}

static inline const char *next_line(const char *line)
{
    line += line_length(line);
    return *line ? line + 1 : line;
}

/* The output of `show` for `parameters` (JSON), malloc'ed, and its result. */
static inline char *shown(const struct output_ops *ops, output_function show,
                          const struct subject *about, const char *parameters, int *ret)
{
    json_t *reply = json_loads(parameters, 0, NULL);

    ck_assert_ptr_nonnull(reply);
    open_output(ops, 0);
    *ret = show(&output, about, reply);
    if (*ret == 0 && show == ops->list)
        *ret = ops->list_end(&output, about, NULL);
    json_decref(reply);
    return close_output();
}

static inline void expect(output_function show, const struct subject *about, const char *parameters,
                          const char *text)
{
    int r;
    char *got = shown(&output_text, show, about, parameters, &r);
    ck_assert_int_eq(r, 0);
    ck_assert_str_eq(got, text);
    free(got);
}
