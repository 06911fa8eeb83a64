/* A program that does not know EdgeMind. It maps a weight file and reads it when it is told. Usage:
 * view_told MODE FILE. A line on standard input is a command, its end is the end; each "r" on
 * standard output says that the bytes were right. Prints the first wrong byte. */
#include "tests/integration/view_reader.h"

#include <poll.h>

/* Unmaps the middle of the first layer on command. */
static void cut(int fd)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), at = (size_t)1 << 19;

    compare(fd, map, 0, size);
    expect(write(STDOUT_FILENO, "r", 1) == 1 && getchar() == '\n', "the command");
    expect(munmap((void *)(size_t)(map + at), page) == 0, "munmap");
    expect(write(STDOUT_FILENO, "r", 1) == 1 && getchar() == EOF, "the end");
    compare(fd, map, 0, at);
}

/* Reads and unmaps on commands from its standard input. */
static void stop_and_read(int fd)
{
    expect(getchar() == '\n', "getchar");
    read_all(fd);
    expect(getchar() == '\n', "getchar");
    expect(munmap((void *)(size_t)map, size) == 0, "munmap");
    expect(getchar() == EOF, "getchar");
}

/* Reads the same bytes again on commands from its standard input; with `is_busy` also meanwhile. */
static void hold(int fd, int is_busy)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    size_t n = size / 4;
    unsigned char *right = malloc(n);
    int is_told = 1;

    expect(right != NULL && pread(fd, right, n, 0) == (ssize_t)n, "pread");
    for (;;) {
        if (memcmp(map, right, n) != 0) {
            fputs("a wrong byte\n", stderr);
            _exit(1);
        }
        if (is_told)
            expect(write(STDOUT_FILENO, "r", 1) == 1, "write");
        is_told = poll(&input, 1, is_busy ? 0 : -1) > 0;
        if (is_told && getchar() != '\n')
            break;
    }
    free(right);
}

int main(int argc, char **argv)
{
    expect(argc == 3, "usage: view_told MODE FILE");
    const char *mode = argv[1];
    path = argv[2];
    setbuf(stdin, NULL);
    int fd = open_file();
    map = map_file(fd, size, 0, MAP_SHARED);

    if (strcmp(mode, "cut") == 0)
        cut(fd);
    else if (strcmp(mode, "hold") == 0)
        hold(fd, 0);
    else if (strcmp(mode, "spin") == 0)
        hold(fd, 1);
    else if (strcmp(mode, "stop") == 0)
        stop_and_read(fd);
    else
        fail("no such mode");
    return 0;
}
