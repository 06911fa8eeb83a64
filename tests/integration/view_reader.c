/* A program that does not know EdgeMind. It maps a weight file, uses the mapping as engines do, and
 * compares every byte with pread(2). Usage: view_reader MODE FILE [MILLISECONDS]. Exits with 0 if
 * all bytes were right; prints the first wrong byte. */
#include "tests/integration/view_reader.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

enum { THREADS = 16 };

static double seconds = 0.5;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *read_at_random(void *context)
{
    unsigned seed = (unsigned)(size_t)context;
    int fd = open_file();
    double end = now() + seconds;

    while (now() < end) {
        size_t offset = ((size_t)rand_r(&seed) << 8) % (size - BLOCK);
        compare(fd, map + offset, offset, BLOCK);
    }
    close(fd);
    return NULL;
}

static void random_places(void)
{
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        expect(pthread_create(&threads[i], NULL, read_at_random, (void *)(i + 1)) == 0, "thread");
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void unmap_pieces(int fd)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), middle = size / 2 / page * page;

    expect(munmap((void *)(size_t)map, page) == 0, "munmap");
    compare(fd, map + page, page, size - page);
    expect(munmap((void *)(size_t)(map + middle), 3 * page) == 0, "munmap");
    void *other = mmap((void *)(size_t)(map + middle), 3 * page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    expect(other == map + middle, "mmap");
    memset(other, 7, 3 * page);
    for (int i = 0; i < 2; i++) {
        compare(fd, map + page, page, middle - page);
        compare(fd, map + middle + 3 * page, middle + 3 * page, size - middle - 3 * page);
    }
    expect(*(unsigned char *)other == 7, "what was mapped over");
    expect(munmap((void *)(size_t)map, size) == 0, "munmap");
}

static void fork_and_read(int fd)
{
    int status;

    compare(fd, map, 0, size / 2);
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            read_all(fd);
            _exit(0);
        }
        read_all(fd);
        expect(waitpid(pid, &status, 0) == pid && status == 0, "the child");
    }
}

static void close_everything(void)
{
    compare(open_file(), map, 0, size / 3);
    closefrom(3);
    read_all(open_file());
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    read_all(open_file());
}

static void map_twice(int fd)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), offset = 5 * page, half = size / 2 / page * page;
    const unsigned char *a = map_file(fd, size - offset, offset, MAP_SHARED);
    const unsigned char *b = map_file(fd, size - half, half, MAP_PRIVATE | MAP_POPULATE);

    for (int i = 0; i < 2; i++) {
        compare(fd, a, offset, size - offset);
        compare(fd, b, half, size - half);
        read_all(fd);
    }
    expect(munmap((void *)(size_t)a, size - offset) == 0, "munmap");
    read_all(fd);
    compare(fd, b, half, size - half);
}

static void block_signals(void)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    random_places();
}

static sigjmp_buf back;

static void on_segv(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

static void own_handler(int fd)
{
    struct sigaction action = {.sa_handler = on_segv}, old;
    volatile int n_faults = 0;
    volatile size_t nowhere = 16;

    expect(sigaction(SIGSEGV, &action, NULL) == 0, "sigaction");
    read_all(fd);
    expect(sigaction(SIGSEGV, NULL, &old) == 0 && old.sa_handler == on_segv, "the handler");
    if (sigsetjmp(back, 1) == 0)
        *(volatile int *)nowhere = 1;
    else
        n_faults = 1;
    expect(n_faults == 1, "its own fault");
    signal(SIGSEGV, SIG_DFL);
    random_places();
}

static void write_out(int fd)
{
    int out[2];
    FILE *file = tmpfile();

    expect(file != NULL, "tmpfile");
    expect(write(fileno(file), map, size) == (ssize_t)size, "write");
    unsigned char *copy = map_file(fileno(file), size, 0, MAP_PRIVATE);
    compare(fd, copy, 0, size);
    expect(pipe(out) == 0 && write(out[1], map + size / 2, 4096) == 4096, "write to a pipe");
    expect(read(out[0], (unsigned char[4096]){0}, 4096) == 4096, "read");
}

static void change_it(int fd)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), middle = size / 2 / page * page;
    unsigned char *changed = (unsigned char *)(size_t)(map + middle);

    expect(madvise((void *)(size_t)map, size, MADV_DONTNEED) == 0, "madvise");
    expect(mlock(map, size) == 0, "mlock");
    expect(mprotect((void *)(size_t)map, size, PROT_READ) == 0, "mprotect");
    read_all(fd);
    expect(mprotect(changed, page, PROT_READ | PROT_WRITE) == 0, "mprotect");
    changed[1]++;
    compare(fd, map, 0, middle);
    compare(fd, map + middle + page, middle + page, size - middle - page);
    const unsigned char *moved = mremap((void *)(size_t)map, size, size, MREMAP_MAYMOVE);
    expect(moved != MAP_FAILED, "mremap");
    compare(fd, moved, 0, middle);
}

/* Closes every descriptor past the C library, as some sandboxes and daemons do, and opens files
 * that get their numbers. */
static void close_past_libc(int fd)
{
    compare(fd, map, 0, size / 3);
    expect(syscall(SYS_close_range, 3, ~0U, 0) == 0, "close_range");
    for (int i = 0; i < 800; i++)
        expect(memfd_create("taken", MFD_CLOEXEC) >= 0, "memfd_create");
    fd = open_file();
    read_all(fd);
    random_places();
    for (int i = 3; i < fd; i++) {
        struct stat status;
        expect(fstat(i, &status) == 0 && status.st_size == 0, "a file that was written to");
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE), middle = size / 2 / page * page;
    expect(munmap((void *)(size_t)(map + middle), page) == 0, "munmap");
    compare(fd, map, 0, middle);
    int status;
    pid_t child = fork();
    if (child == 0) {
        compare(fd, map, 0, middle);
        _exit(0);
    }
    expect(waitpid(child, &status, 0) == child && status == 0, "the child");
}

/* Has all its memory locked, what it maps later, too. */
static void lock_everything(int fd)
{
    munmap((void *)(size_t)map, size);
    expect(mlockall(MCL_FUTURE) == 0, "mlockall");
    map = map_file(fd, size, 0, MAP_SHARED);
    read_all(fd);
    random_places();
    expect(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall");
    read_all(fd);
}

/* As an engine that rearranges its weights. */
static void copy_all(int fd)
{
    unsigned char *copy = malloc(size);

    expect(copy != NULL, "malloc");
    for (size_t done = 0; done < size; done += BLOCK)
        memcpy(copy + done, map + done, size - done < BLOCK ? size - done : BLOCK);
    compare(fd, copy, 0, size);
    free(copy);
}

/* Allocates the same amount once, and copies nothing. */
static void allocate(int fd)
{
    compare(fd, map, 0, size / 4);
    unsigned char *cache = malloc(size);
    expect(cache != NULL, "malloc");
    memset(cache, 1, size);
    read_all(fd);
    expect(cache[size / 2] == 1, "the cache");
    free(cache);
}

/* With a system call that the library does not replace. */
static void gather_out(int fd)
{
    FILE *file = tmpfile();

    expect(file != NULL, "tmpfile");
    for (size_t done = 0; done < size;) {
        struct iovec bytes = {(void *)(size_t)(map + done), size - done};
        ssize_t n = writev(fileno(file), &bytes, 1);
        expect(n > 0, "writev");
        done += (size_t)n;
    }
    compare(fd, map_file(fileno(file), size, 0, MAP_PRIVATE), 0, size);
}

/* Each line on standard input says how many bytes to read next. After the last byte, and after a 0,
 * comes the first. */
static void read_by_command(int fd)
{
    size_t n, at = 0;

    while (scanf("%zu", &n) == 1) {
        compare(fd, map + at, at, n = n < size - at ? n : size - at);
        at = n > 0 ? (at + n) % size : 0;
    }
}

int main(int argc, char **argv)
{
    expect(argc >= 3, "usage: view_reader MODE FILE [MILLISECONDS]");
    const char *mode = argv[1];
    path = argv[2];
    if (argc > 3)
        seconds = atof(argv[3]) / 1000;
    int fd = open_file();
    int is_private = strcmp(mode, "change") == 0 || strcmp(mode, "fork") == 0;
    map = map_file(fd, size, 0, is_private ? MAP_PRIVATE : MAP_SHARED);

    if (strcmp(mode, "all") == 0)
        read_all(fd);
    else if (strcmp(mode, "raw-close") == 0)
        close_past_libc(fd);
    else if (strcmp(mode, "copy") == 0)
        copy_all(fd);
    else if (strcmp(mode, "allocate") == 0)
        allocate(fd);
    else if (strcmp(mode, "gather") == 0)
        gather_out(fd);
    else if (strcmp(mode, "command") == 0)
        read_by_command(fd);
    else if (strcmp(mode, "random") == 0)
        random_places();
    else if (strcmp(mode, "unmap") == 0)
        unmap_pieces(fd);
    else if (strcmp(mode, "fork") == 0)
        fork_and_read(fd);
    else if (strcmp(mode, "close") == 0)
        close_everything();
    else if (strcmp(mode, "twice") == 0)
        map_twice(fd);
    else if (strcmp(mode, "block") == 0)
        block_signals();
    else if (strcmp(mode, "handler") == 0)
        own_handler(fd);
    else if (strcmp(mode, "write") == 0)
        write_out(fd);
    else if (strcmp(mode, "lock") == 0)
        lock_everything(fd);
    else if (strcmp(mode, "change") == 0)
        change_it(fd);
    else
        fail("no such mode");
    return 0;
}
