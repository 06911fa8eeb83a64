/* A program that does not know EdgeMind. It maps a weight file of N units of UNIT_BYTES bytes each
 * from OFFSET on. fault touch FILE OFFSET N UNIT_BYTES ROUNDS Maps the file so many times, each
 * time reads one byte of each unit, in random order, and unmaps it. Prints the microseconds of a
 * read: the median, the 99th percentile, the median of the first tenth and of the last tenth of all
 * reads. fault hold FILE OFFSET N UNIT_BYTES Maps the file and reads one byte of each unit. Prints
 * how many KiB of its own memory the process has and how often its other threads run in a second
 * without work. Stays until its standard input ends. */
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct file {
    int fd;
    size_t size_bytes;
    uint64_t offset_bytes, n_units, unit_bytes;
};

static const volatile unsigned char *map(const struct file *file)
{
    void *at = mmap(NULL, file->size_bytes, PROT_READ, MAP_SHARED, file->fd, 0);
    if (at == MAP_FAILED)
        err(1, "mmap");
    return at;
}

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t read_unit(const struct file *file, const volatile unsigned char *at, uint64_t unit)
{
    uint64_t begin = nanoseconds();
    (void)at[file->offset_bytes + unit * file->unit_bytes + file->unit_bytes / 2];
    return nanoseconds() - begin;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static double percentile(uint64_t *values, size_t n, unsigned percent)
{
    qsort(values, n, sizeof *values, compare);
    return (double)values[(n - 1) * percent / 100] / 1000;
}

static void shuffle(uint64_t *order, uint64_t n)
{
    for (uint64_t i = n; i > 1; i--) {
        uint64_t j = (uint64_t)random() % i, swapped = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swapped;
    }
}

static void touch(const struct file *file, uint64_t n_rounds)
{
    uint64_t n = file->n_units * n_rounds, done = 0;
    uint64_t *times = calloc(n, sizeof *times), *order = calloc(file->n_units, sizeof *order);
    if (!times || !order)
        errx(1, "no memory");
    for (uint64_t i = 0; i < file->n_units; i++)
        order[i] = i;
    for (uint64_t round = 0; round < n_rounds; round++) {
        const volatile unsigned char *at = map(file);
        shuffle(order, file->n_units);
        for (uint64_t i = 0; i < file->n_units; i++)
            times[done++] = read_unit(file, at, order[i]);
        munmap((void *)(uintptr_t)at, file->size_bytes);
    }
    double first = percentile(times, n / 10, 50);
    double last = percentile(times + n - n / 10, n / 10, 50);
    double median = percentile(times, n, 50);
    printf("%.2f %.2f %.2f %.2f\n", median, percentile(times, n, 99), first, last);
}

/* A number in a file below /proc. */
static uint64_t field(const char *path, const char *name)
{
    char line[256];
    uint64_t value = 0;
    FILE *file = fopen(path, "re");

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtoull(line + strlen(name), NULL, 10);
    if (file)
        fclose(file);
    return value;
}

static uint64_t switches_of_others(void)
{
    char path[300];
    uint64_t n = 0;
    DIR *tasks = opendir("/proc/self/task");

    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        if (task->d_name[0] == '.' || atoi(task->d_name) == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        n += field(path, "voluntary_ctxt_switches:");
    }
    if (tasks)
        closedir(tasks);
    return n;
}

static void hold(const struct file *file)
{
    enum { IDLE_SECONDS = 1 };
    const volatile unsigned char *at = map(file);

    for (uint64_t i = 0; i < file->n_units; i++)
        read_unit(file, at, i);
    usleep(300 * 1000); /* the last fault's threads come to rest */
    uint64_t before = switches_of_others();
    sleep(IDLE_SECONDS);
    printf("%" PRIu64 " %" PRIu64 "\n", field("/proc/self/status", "RssAnon:"),
           switches_of_others() - before);
    fflush(stdout);
    while (getchar() != EOF)
        ;
}

int main(int argc, char **argv)
{
    struct stat status;

    if (argc < 6)
        errx(2, "usage: fault touch FILE OFFSET N UNIT_BYTES ROUNDS\n"
                "       fault hold FILE OFFSET N UNIT_BYTES");
    struct file file = {.fd = open(argv[2], O_RDONLY | O_CLOEXEC),
                        .offset_bytes = strtoull(argv[3], NULL, 10),
                        .n_units = strtoull(argv[4], NULL, 10),
                        .unit_bytes = strtoull(argv[5], NULL, 10)};
    if (file.fd < 0 || fstat(file.fd, &status) < 0)
        err(1, "%s", argv[2]);
    file.size_bytes = (size_t)status.st_size;
    if (file.offset_bytes + file.n_units * file.unit_bytes > file.size_bytes)
        errx(1, "%s has not so many units", argv[2]);
    if (strcmp(argv[1], "touch") == 0 && argc == 7)
        touch(&file, strtoull(argv[6], NULL, 10));
    else
        hold(&file);
    return 0;
}
