/* Says on standard error in which object a program dies, for the tests of missing memory: jansson
 * 2.14 dies at some failed allocations, and the program itself must not.
 *
 * Needs the GNU C library. The innermost function that is not the C library's decides. */
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { FRAMES_MAX = 32 };

static const char *object_of(const void *address)
{
    Dl_info info;
    const char *slash;

    if (!dladdr(address, &info) || !info.dli_fname)
        return "unknown";
    slash = strrchr(info.dli_fname, '/');
    return slash ? slash + 1 : info.dli_fname;
}

static void say(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n;
}

static void name_killer(int number)
{
    void *frames[FRAMES_MAX];
    int n = backtrace(frames, FRAMES_MAX), i = 1; /* the first is this function */

    while (i < n - 1 && strncmp(object_of(frames[i]), "libc.so", strlen("libc.so")) == 0)
        i++;
    say("died in ");
    say(object_of(frames[i]));
    say("\n");
    signal(number, SIG_DFL);
    raise(number);
}

__attribute__((constructor)) static void begin(void)
{
    void *frame;

    backtrace(&frame, 1); /* the first call allocates */
    signal(SIGABRT, name_killer);
    signal(SIGSEGV, name_killer);
}
