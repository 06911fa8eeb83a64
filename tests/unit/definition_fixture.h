/* Definitions that must be valid. */
#pragma once

#include "common/definition/definition_parse.h"

#include <check.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define M(layer)     "{\"name\":\"m\",\"layers\":[" layer "]}"

static inline struct definition *parse(const char *text)
{
    struct definition_problem problem = {.message = ""};
    struct definition *definition = NULL;

    int r = definition_parse(text, strlen(text), &definition, &problem);
    ck_assert_msg(r == 0, "%u:%u %s: %s", problem.line, problem.column, problem.path,
                  problem.message);
    return definition;
}
