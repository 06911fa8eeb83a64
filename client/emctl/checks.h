/* Whether the value of an option of the command line is valid. */
#pragma once

#include <stdbool.h>

bool check_on_full(const char *value);
bool check_capacity(const char *value);
bool check_rate(const char *value);
bool check_compute(const char *value);
bool check_wait(const char *value);
bool check_passes(const char *value);
bool check_experts(const char *value);
bool check_units(const char *value);
bool check_path(const char *value);
bool check_name(const char *value);
bool check_model(const char *value);
