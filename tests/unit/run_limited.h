/* Tests that must run out of descriptors. */
#pragma once

#include <check.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `body` in a child whose limit of open descriptors is set, once it asks for it, from outside:
 * valgrind only pretends to obey a limit that a process sets for itself. */
struct limiter {
    int ask, answer;
};

/* From now on only `n_more` descriptors can be opened. */
static inline void limit_fds(const struct limiter *limiter, unsigned n_more)
{
    int next = dup(limiter->ask);
    rlim_t maximum = (rlim_t)next + n_more;
    char byte;

    close(next);
    ck_assert_int_eq(write(limiter->ask, &maximum, sizeof maximum), sizeof maximum);
    ck_assert_int_eq(read(limiter->answer, &byte, 1), 1);
}

static inline void run_limited(void (*body)(const struct limiter *))
{
    int ask[2], answer[2], status;
    rlim_t maximum;

    ck_assert_int_eq(pipe2(ask, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(answer, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        body(&(const struct limiter){ask[1], answer[0]});
        _exit(0);
    }
    ck_assert_int_gt(child, 0);
    close(ask[1]);
    close(answer[0]);
    while (read(ask[0], &maximum, sizeof maximum) == sizeof maximum) {
        const struct rlimit limit = {maximum, maximum};
        ck_assert_int_eq(prlimit(child, RLIMIT_NOFILE, &limit, NULL), 0);
        ck_assert_int_eq(write(answer[1], "", 1), 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    close(ask[0]);
    close(answer[1]);
}
