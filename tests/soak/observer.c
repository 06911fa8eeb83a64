/* Looks at the daemon from outside, once a millisecond, through /proc and stat(2) alone, and holds
 * what it sees against limits.
 *   observer CAPACITY OVERHEAD DESCRIPTORS THREADS
 * Each line of its standard input is the PID to look at from now on; while that process does not
 * exist, there is nothing to see. At the end of the input it prints how often it looked, the
 * longest time between two looks, and the maximum of each figure. Prints the first breach of each
 * limit on standard error; exits with 1 if there was one. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    PERIOD_NSEC = 1000000,
    SEARCH_PERIOD = 1000, /* looks; how often it searches for an arena that it does not know */
    BLOCK_BYTES = 512     /* of st_blocks */
};

enum figure { ARENA, OVERHEAD, DESCRIPTORS, THREADS, ARENAS, N_FIGURES };

static const char *const names[N_FIGURES] = {"arena_bytes", "overhead_bytes", "descriptors",
                                             "threads", "arenas"};
static long long limits[N_FIGURES] = {[ARENAS] = 1}, most[N_FIGURES];
static bool is_breached[N_FIGURES];
static long long n_looks, longest_nsec;

static void note(enum figure figure, long long value)
{
    if (value > most[figure])
        most[figure] = value;
    if (value <= limits[figure] || is_breached[figure])
        return;
    is_breached[figure] = true;
    fprintf(stderr, "breach: %s is %lld, over %lld\n", names[figure], value, limits[figure]);
}

struct process {
    long pid; /* 0: none */
    char arena[64];
    ino_t arena_inode;
    long long n_looks; /* since the last search; -1: search at once */
};

/* Finds the arena among the process's descriptors. */
static void search(struct process *process)
{
    char directory[32], path[64], target[64];
    ino_t found = 0;
    struct stat status;
    struct dirent *entry;

    snprintf(directory, sizeof directory, "/proc/%ld/fd", process->pid);
    DIR *stream = opendir(directory);
    if (!stream)
        return;
    process->arena[0] = '\0';
    while ((entry = readdir(stream))) {
        snprintf(path, sizeof path, "%s/%.20s", directory, entry->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        if (strncmp(target, "/memfd:edgemind-arena", 21) != 0 || stat(path, &status) < 0)
            continue;
        if (found != 0 && found != status.st_ino)
            note(ARENAS, 2);
        found = process->arena_inode = status.st_ino;
        snprintf(process->arena, sizeof process->arena, "%s", path);
    }
    closedir(stream);
    process->n_looks = process->arena[0] == '\0' ? -1 : 0;
}

static long long value_of(const char *text, const char *key)
{
    const char *found = strstr(text, key);
    return found ? atoll(found + strlen(key)) : -1;
}

static void look_at_memory(long pid)
{
    char path[32], text[4096];

    snprintf(path, sizeof path, "/proc/%ld/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    long long rss = value_of(text, "\nVmRSS:"), shared = value_of(text, "\nRssShmem:");
    if (rss < 0 || shared < 0) /* it is ending */
        return;
    note(OVERHEAD, (rss - shared) * 1024);
    note(THREADS, value_of(text, "\nThreads:"));
}

/* Since Linux 6.2 a directory of descriptors says their number. */
static void look_at_descriptors(long pid)
{
    char path[32];
    struct stat status;
    long long n = -2; /* "." and ".." */

    snprintf(path, sizeof path, "/proc/%ld/fd", pid);
    if (stat(path, &status) < 0)
        return;
    if (status.st_size > 0) {
        note(DESCRIPTORS, status.st_size);
        return;
    }
    DIR *stream = opendir(path);
    if (!stream)
        return;
    while (readdir(stream))
        n++;
    closedir(stream);
    note(DESCRIPTORS, n);
}

static void look(struct process *process)
{
    struct stat status;

    if (process->n_looks < 0 || ++process->n_looks >= SEARCH_PERIOD)
        search(process);
    if (process->arena[0] != '\0') {
        if (stat(process->arena, &status) == 0 && status.st_ino == process->arena_inode)
            note(ARENA, (long long)status.st_blocks * BLOCK_BYTES);
        else
            process->n_looks = -1;
    }
    look_at_memory(process->pid);
    look_at_descriptors(process->pid);
    n_looks++;
}

/* Returns false at the end of the input. */
static bool listen_for(struct process *process)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char text[256];

    if (poll(&input, 1, 0) <= 0)
        return true;
    ssize_t n = read(STDIN_FILENO, text, sizeof text - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    *process = (struct process){.pid = atol(text), .n_looks = -1};
    return true;
}

static void await_next(struct timespec *next)
{
    struct timespec now;

    next->tv_nsec += PERIOD_NSEC;
    if (next->tv_nsec >= 1000000000) {
        next->tv_nsec -= 1000000000;
        next->tv_sec++;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long late_nsec = (now.tv_sec - next->tv_sec) * 1000000000LL + now.tv_nsec - next->tv_nsec;
    if (late_nsec + PERIOD_NSEC > longest_nsec)
        longest_nsec = late_nsec + PERIOD_NSEC;
    if (late_nsec > PERIOD_NSEC)
        *next = now;
}

int main(int argc, char **argv)
{
    struct process process = {0};
    struct timespec next;
    int status = 0;

    if (argc != ARENAS + 1) {
        fprintf(stderr, "usage: observer CAPACITY OVERHEAD DESCRIPTORS THREADS\n");
        return 2;
    }
    for (int i = 0; i < ARENAS; i++)
        limits[i] = atoll(argv[i + 1]);
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (listen_for(&process)) {
        if (process.pid != 0)
            look(&process);
        await_next(&next);
    }
    printf("{\"looks\": %lld, \"longest_usec\": %lld", n_looks, longest_nsec / 1000);
    for (int i = 0; i < ARENAS; i++) {
        printf(", \"%s\": %lld", names[i], most[i]);
        status |= is_breached[i];
    }
    printf("}\n");
    return status | is_breached[ARENAS];
}
