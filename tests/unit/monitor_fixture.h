/* A monitor of the backing that a test makes. The fixture frees both. */
#pragma once

#include "daemon/monitor/monitor.h"
#include "tests/unit/backing_fixture.h"

static struct monitor *monitor;

static inline void stop(void)
{
    monitor = monitor_free(monitor);
    teardown();
}

/* Of the backing, if there is one, and of a tree like /proc. */
static inline void watch(const char *proc)
{
    monitor = monitor_free(monitor);
    ck_assert_int_eq(monitor_new(backing, proc, &monitor), 0);
}

static inline const struct sample *sample(void)
{
    uint64_t n = monitor_n_samples(monitor);

    ck_assert_int_eq(monitor_sample(monitor), 0);
    ck_assert_uint_eq(monitor_n_samples(monitor), n + 1);
    return monitor_last(monitor);
}

/* Takes a new sample. */
static inline void expect_drift(int64_t drift_bytes, bool aligned)
{
    const struct sample *s = sample();

    ck_assert_int_eq(s->drift_bytes, drift_bytes);
    ck_assert_int_eq(s->aligned, aligned);
}
