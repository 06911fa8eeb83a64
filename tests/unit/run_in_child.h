/* Tests that change limits, filters or groups for good, and so run in a child of their own. */
#pragma once

#include <check.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* The body's result is the child's exit status: 0, or the number of the CHECK that failed. */
static inline void run_in_child(int (*body)(void))
{
    int status;

    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(body());
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
    ck_assert_msg(WEXITSTATUS(status) == 0, "check %d failed", WEXITSTATUS(status));
}

#define CHECK(number, condition) \
    do {                         \
        if (!(condition))        \
            return number;       \
    } while (0)
