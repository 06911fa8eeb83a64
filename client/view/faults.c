/* With userfaultfd a hole is an empty private mapping that is registered. It is made at another
 * address, registered, and then moved over the old pages, because a hole that is not registered
 * would read as zeros. Nor is it readable before, because the kernel would fill it with zeros in a
 * program that has all its memory locked (mlockall(2)). The move waits until a separate thread has
 * read the event of the move.
 *
 * With SIGSEGV a hole is a mapping without access. */
#include "client/view/faults.h"

#include "client/view/real.h"
#include "client/view/thread.h"
#include "common/page.h"
#include "common/thread_priority.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>

/* Global, because a signal handler gets no context. */
static fault_reporter reporter;
static struct sigaction engine_action; /* for faults outside of views; under `action_lock` */
static pthread_mutex_t action_lock = PTHREAD_MUTEX_INITIALIZER;

int faults_make_hole(const struct faults *faults, void *begin, size_t n_bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

    if (faults->by_signal) {
        if (real_mmap(begin, n_bytes, PROT_NONE, flags | MAP_FIXED, -1, 0) == MAP_FAILED)
            return -errno;
        real_madvise(begin, n_bytes, MADV_DONTFORK);
        return 0;
    }
    void *hole = real_mmap(NULL, n_bytes, PROT_NONE, flags, -1, 0);
    if (hole == MAP_FAILED)
        return -errno;
    struct uffdio_register area = {.range = {(uintptr_t)hole, n_bytes},
                                   .mode = UFFDIO_REGISTER_MODE_MISSING};
    real_madvise(hole, n_bytes, MADV_DONTFORK);
    if (ioctl(faults->uffd, UFFDIO_REGISTER, &area) < 0 ||
        real_mprotect(hole, n_bytes, PROT_READ) < 0 ||
        real_mremap(hole, n_bytes, n_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, begin) != begin) {
        int error = errno;
        real_munmap(hole, n_bytes);
        return -error;
    }
    return 0;
}

void faults_wake(const struct faults *faults, void *begin, size_t n_bytes)
{
    struct uffdio_range range = {(uintptr_t)begin, n_bytes};

    if (!faults->by_signal)
        ioctl(faults->uffd, UFFDIO_WAKE, &range);
}

static void *read_faults(void *context)
{
    int uffd = (int)(intptr_t)context;
    struct uffd_msg message;
    (void)thread_be_prompt();

    for (;;) {
        ssize_t n = read(uffd, &message, sizeof message);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n != sizeof message)
            return NULL;
        if (message.event != UFFD_EVENT_PAGEFAULT)
            continue;
        void *address = (void *)(uintptr_t)message.arg.pagefault.address; /* NOLINT */
        if (!reporter(address, false)) {
            /* The hole was filled meanwhile. */
            uintptr_t page_bytes = (uintptr_t)system_page_bytes();
            struct uffdio_range range = {(uintptr_t)address & ~(page_bytes - 1), page_bytes};
            ioctl(uffd, UFFDIO_WAKE, &range);
        }
    }
}

/* Opens a userfaultfd. With the device, which needs permission, system calls that read a hole wait
 * for its bytes. With the system call, which any user may make, they fail. Returns a descriptor or
 * a negative errno. */
static int open_uffd(bool by_device)
{
    int fd, device = by_device ? open("/dev/userfaultfd", O_RDWR | O_CLOEXEC) : -1;

    if (!by_device)
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    else
        fd = device < 0 ? -1 : ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
    int error = errno;
    if (device >= 0)
        close(device);
    return fd < 0 ? -error : fd;
}

static int start_uffd(struct faults *faults, bool by_device)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMAP};
    int fd = open_uffd(by_device);
    if (fd < 0)
        return fd;
    int r = ioctl(fd, UFFDIO_API, &api) < 0
                ? -errno
                : thread_start(read_faults, (void *)(intptr_t)fd, 64 << 10);
    if (r < 0) {
        close(fd);
        return r;
    }
    faults->by_signal = false;
    faults->uffd = fd;
    return 0;
}

static int real_sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
    static int (*function)(int, const struct sigaction *, struct sigaction *);
    if (!function)
        function = (int (*)(int, const struct sigaction *, struct sigaction *))(uintptr_t)dlsym(
            RTLD_NEXT, "sigaction");
    return function(signal, action, old);
}

static void chain(int signal, siginfo_t *info, void *context)
{
    struct sigaction action = engine_action;

    if (action.sa_flags & SA_SIGINFO)
        action.sa_sigaction(signal, info, context);
    else if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)
        action.sa_handler(signal);
    else /* the instruction runs again, and then the signal ends the process */
        real_sigaction(SIGSEGV, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    int error = errno;
    bool is_ours = info->si_code > 0 && reporter(info->si_addr, true);

    errno = error;
    if (!is_ours)
        chain(signal, info, context);
}

static int start_signal(struct faults *faults)
{
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART};

    sigemptyset(&action.sa_mask);
    faults->uffd = -1;
    faults->by_signal = true;
    if (real_sigaction(SIGSEGV, &action, &engine_action) < 0)
        return -errno;
    return 0;
}

int faults_start(struct faults *faults, const char *forced, fault_reporter report)
{
    reporter = report;
    int r = -ENOSYS;

    if (!forced || strcmp(forced, "device") == 0)
        r = start_uffd(faults, true);
    if (r < 0 && (!forced || strcmp(forced, "uffd") == 0))
        r = start_uffd(faults, false);
    if (r < 0 && (!forced || strcmp(forced, "sigsegv") == 0))
        r = start_signal(faults);
    return r;
}

void faults_admit(const struct faults *faults)
{
    sigset_t segv;

    sigemptyset(&segv);
    sigaddset(&segv, SIGSEGV);
    if (faults->by_signal)
        pthread_sigmask(SIG_UNBLOCK, &segv, NULL);
}

bool faults_sigaction(const struct faults *faults, int signal, const struct sigaction *action,
                      struct sigaction *old)
{
    if (!faults->by_signal || signal != SIGSEGV)
        return false;
    pthread_mutex_lock(&action_lock);
    struct sigaction before = engine_action;
    if (action)
        engine_action = *action;
    if (old)
        *old = before;
    pthread_mutex_unlock(&action_lock);
    return true;
}
