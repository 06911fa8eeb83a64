/* What emctl shows of a reply. */
#pragma once

#include "client/emctl/output.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct subject subject = {.model = "m", .layer = "l"};

/* What `show` writes for `parameters` (JSON), malloc'ed, and its result. */
static inline char *shown(const struct output_ops *ops, output_function show,
                          const struct subject *about, const char *parameters, int *ret)
{
    FILE *file = tmpfile();
    struct output output;
    json_t *reply = json_loads(parameters, 0, NULL);

    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(reply);
    output_init(&output, ops, file);
    ck_assert_uint_eq(output.width, 0);
    ck_assert(!output.color);
    *ret = show(&output, about, reply);
    if (*ret == 0 && show == ops->list)
        *ret = ops->list_end(&output, about, NULL);
    ck_assert_int_eq(output_flush(&output), 0);
    output_done(&output);
    json_decref(reply);
    size_t n = (size_t)ftell(file);
    char *text = calloc(1, n + 1);
    rewind(file);
    ck_assert_uint_eq(fread(text, 1, n, file), n);
    fclose(file);
    return text;
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
