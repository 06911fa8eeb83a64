/* The library's threads: detached, and without signals, which are the engine's. */
#pragma once

#include <stddef.h>

/* 0 or a negative errno. */
int thread_start(void *(*function)(void *), void *context, size_t stack_bytes);
