/* A header of a weight file that is accepted or refused. */
#pragma once

#include "tests/unit/weight_bytes.h"

static const uint64_t one[] = {1};

/* Accepts or fails the test; the caller frees. */
static inline struct tensor_file *accept(struct bytes *bytes)
{
    struct definition_problem problem;
    struct tensor_file *file = NULL;

    int r = bytes_parse(bytes, &file, &problem);
    ck_assert_msg(r == 0, "%s: %s", problem.path, problem.message);
    check_tensor_file(file, bytes->size_bytes);
    return file;
}

static inline void refuse(struct bytes *bytes, const char *path, const char *message)
{
    struct definition_problem problem;
    struct tensor_file *file = NULL;

    ck_assert_int_eq(bytes_parse(bytes, &file, &problem), -EBADMSG);
    ck_assert_ptr_null(file);
    ck_assert_uint_eq(problem.line, 0);
    ck_assert_str_eq(problem.message, message);
    ck_assert_str_eq(problem.path, path);
    free(bytes->at);
    *bytes = (struct bytes){0};
}
