/* Parses the JSON text of a definition. Thread-safe. */
#pragma once

#include "common/definition/definition.h"

/* 0 and a new reference; -EBADMSG with `ret_problem` set; -ENOMEM. */
int definition_parse(const char *text, size_t n_bytes, struct definition **ret,
                     struct definition_problem *ret_problem);
