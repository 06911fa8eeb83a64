/* The arena in a client's memory: contents over segments in any order, the cache of views, files
 * that grow and shrink, and invalid segments. */
#include "client/library/arena_map.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 16 };
#define NAME "test-arena-map"

static uint64_t page;
static int file;
static struct arena_map *map;

/* A read-only descriptor of `file`, as clients get it. */
static int reopen(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static unsigned char pattern(uint64_t offset)
{
    return (unsigned char)(offset * 31 + offset / page * 7 + 1);
}

static void fill(uint64_t from, uint64_t to)
{
    unsigned char *bytes = malloc(to - from);
    for (uint64_t offset = from; offset < to; offset++)
        bytes[offset - from] = pattern(offset);
    ck_assert_int_eq(pwrite(file, bytes, to - from, (off_t)from), to - from);
    free(bytes);
}

static void setup(void)
{
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    file = memfd_create(NAME, MFD_CLOEXEC);
    ck_assert_int_ge(file, 0);
    fill(0, PAGES * page);
    ck_assert_int_eq(arena_map_new(reopen(), PAGES * page, &map), 0);
}

static void teardown(void)
{
    map = arena_map_unref(map);
    close(file);
}

/* How many mappings of the file this process has, and the VmFlags that all of them have. */
static unsigned count_mappings(uint64_t *ret_bytes, bool *ret_all_undumped)
{
    FILE *smaps = fopen("/proc/self/smaps", "re");
    char line[512];
    unsigned n = 0;
    bool inside = false, all = true;

    ck_assert_ptr_nonnull(smaps);
    *ret_bytes = 0;
    while (fgets(line, sizeof line, smaps)) {
        unsigned long from, to;
        char permissions[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, permissions) == 3) {
            inside = strstr(line, NAME);
            n += inside;
            *ret_bytes += inside ? to - from : 0;
            if (inside)
                ck_assert_str_eq(permissions, "r--s");
        } else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            all = all && strstr(line, " dd");
    }
    fclose(smaps);
    *ret_all_undumped = all;
    return n;
}

static unsigned n_mappings(void)
{
    uint64_t bytes;
    bool undumped;
    unsigned n = count_mappings(&bytes, &undumped);
    ck_assert(undumped);
    return n;
}

/* Every byte of the range is that of its segment. */
static void check_range(const struct arena_range *range, const struct arena_segment *segments,
                        size_t n_segments)
{
    const unsigned char *byte = range->data;
    uint64_t n_wrong = 0;
    for (size_t i = 0; i < n_segments; i++)
        for (uint64_t j = 0; j < segments[i].n_bytes; j++)
            n_wrong += *byte++ != pattern(segments[i].offset_bytes + j);
    ck_assert_uint_eq(n_wrong, 0);
}

START_TEST(one_segment_is_a_part_of_the_one_mapping)
{
    const struct arena_segment a = {0, PAGES * page}, b = {3 * page + 17, 2 * page};
    struct arena_range whole, part;

    ck_assert_int_eq(arena_range_init(&whole, map, &a, 1), 0);
    ck_assert_int_eq(arena_range_init(&part, map, &b, 1), 0);
    ck_assert_ptr_eq(part.data, whole.data + b.offset_bytes);
    check_range(&whole, &a, 1);
    check_range(&part, &b, 1);
    ck_assert_uint_eq(n_mappings(), 1);
    arena_range_done(&whole);
    arena_range_done(&part);
    arena_range_done(&part); /* safe again */
}
END_TEST

START_TEST(several_segments_are_contiguous)
{
    const struct arena_segment segments[] = {
        {9 * page + 100, 2 * page - 100}, {2 * page, 3 * page}, {7 * page, 1}};
    const struct arena_segment other[] = {{9 * page, 2 * page}, {2 * page, 3 * page}};
    struct arena_range range, again, different;

    ck_assert_int_eq(arena_range_init(&range, map, segments, 3), 0);
    check_range(&range, segments, 3);
    unsigned n = n_mappings();
    ck_assert_uint_gt(n, 1);
    ck_assert_int_eq(arena_range_init(&again, map, segments, 3), 0);
    ck_assert_ptr_eq(again.data, range.data);
    const unsigned char *first = range.data;
    arena_range_done(&range);
    check_range(&again, segments, 3); /* still held */
    ck_assert_uint_eq(n_mappings(), n);
    arena_range_done(&again);
    /* Kept for the next time. */
    ck_assert_int_eq(arena_range_init(&again, map, segments, 3), 0);
    ck_assert_ptr_eq(again.data, first);
    ck_assert_uint_eq(n_mappings(), n);
    ck_assert_int_eq(arena_range_init(&different, map, other, 2), 0);
    ck_assert_ptr_ne(different.data, again.data);
    check_range(&different, other, 2);
    check_range(&again, segments, 3);
    arena_range_done(&again);
    arena_range_done(&different);
}
END_TEST

/* Many placements take only a little address space each, together at most the size of the arena. */
START_TEST(idle_views_are_bounded)
{
    const unsigned char *last = NULL;
    struct arena_range range;
    uint64_t bytes;
    bool undumped;

    for (unsigned i = 0; i < 40; i++) {
        struct arena_segment segments[] = {{(2 + i % 7) * page, 2 * page}, {(i % 2) * page, 1 + i}};
        ck_assert_int_eq(arena_range_init(&range, map, segments, 2), 0);
        check_range(&range, segments, 2);
        last = range.data;
        arena_range_done(&range);
    }
    count_mappings(&bytes, &undumped);
    ck_assert_uint_le(bytes, 2 * PAGES * page);
    /* The last view is cached, and older ones are not needed. */
    struct arena_segment segments[] = {{(2 + 39 % 7) * page, 2 * page}, {page, 40}};
    ck_assert_int_eq(arena_range_init(&range, map, segments, 2), 0);
    ck_assert_ptr_eq(range.data, last);
    arena_range_done(&range);
}
END_TEST

/* Used views are never unmapped in favour of idle ones, whatever the bound. */
START_TEST(used_views_stay)
{
    const struct arena_segment held_segments[] = {{15 * page, page}, {0, 5 * page}};
    struct arena_range held, range;

    ck_assert_int_eq(arena_range_init(&held, map, held_segments, 2), 0);
    for (unsigned i = 0; i < 30; i++) {
        struct arena_segment segments[] = {{8 * page, 4 * page}, {0, 1 + i}};
        ck_assert_int_eq(arena_range_init(&range, map, segments, 2), 0);
        arena_range_done(&range);
    }
    check_range(&held, held_segments, 2);
    arena_range_done(&held);
}
END_TEST

START_TEST(a_range_keeps_its_map)
{
    const struct arena_segment segment = {page, page}, segments[] = {{4 * page, page}, {page, 9}};
    struct arena_range one, several;

    ck_assert_int_eq(arena_range_init(&one, map, &segment, 1), 0);
    ck_assert_int_eq(arena_range_init(&several, map, segments, 2), 0);
    map = arena_map_unref(map);
    check_range(&one, &segment, 1);
    check_range(&several, segments, 2);
    arena_range_done(&several);
    check_range(&one, &segment, 1);
    arena_range_done(&one);
    ck_assert_uint_eq(n_mappings(), 0);
}
END_TEST

START_TEST(wrong_segments)
{
    const uint64_t end = PAGES * page;
    const struct {
        struct arena_segment segments[3];
        size_t n;
    } cases[] = {
        {{{0, 0}}, 1},
        {{{end, 1}}, 1},
        {{{end - 1, 2}}, 1},
        {{{UINT64_MAX, 2}}, 1},
        {{{1, UINT64_MAX}}, 1},
        {{{UINT64_MAX - page + 1, page}}, 1},
        {{{0, page}, {2 * page, 0}}, 2},
        {{{0, page - 1}, {2 * page, page}}, 2}, /* ends within a page */
        {{{1, page}, {2 * page, page}}, 2},
        {{{0, page}, {2 * page + 1, page - 1}}, 2}, /* begins within one */
        {{{0, page}, {2 * page, 1}, {3 * page, page}}, 3},
        {{{0, page}, {2 * page, page}, {end, page}}, 3},
    };
    struct arena_range range = {0};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(arena_range_init(&range, map, cases[i].segments, cases[i].n) == -EBADMSG,
                      "case %zu", i);
    ck_assert_ptr_null(range.map);
    ck_assert_uint_eq(n_mappings(), 1);
}
END_TEST

/* With commit=load the file ends after the loaded layers. */
START_TEST(a_file_that_grows)
{
    const struct arena_segment low = {0, page}, high = {(PAGES - 1) * page, page},
                               both[] = {{(PAGES - 1) * page, page}, {0, 1}};
    struct arena_range first, range;

    ck_assert_int_eq(ftruncate(file, (off_t)page), 0);
    ck_assert_int_eq(arena_range_init(&first, map, &low, 1), 0);
    ck_assert_int_eq(arena_range_init(&range, map, &high, 1), -ENODATA);
    ck_assert_int_eq(arena_range_init(&range, map, both, 2), -ENODATA);
    fill(page, PAGES * page);
    ck_assert_int_eq(arena_range_init(&range, map, &high, 1), 0);
    check_range(&range, &high, 1);
    ck_assert_ptr_eq(range.data, first.data + high.offset_bytes);
    check_range(&first, &low, 1);
    arena_range_done(&range);
    ck_assert_int_eq(arena_range_init(&range, map, both, 2), 0);
    check_range(&range, both, 2);
    arena_range_done(&range);
    arena_range_done(&first);
}
END_TEST

START_TEST(the_descriptor)
{
    struct arena_map *other;
    int fd = reopen(), pipes[2];

    ck_assert(arena_map_is_of(map, fd));
    ck_assert_int_eq(arena_map_new(fd, PAGES * page, &other), 0);
    arena_map_ref(other);
    arena_map_unref(other);
    ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
    arena_map_unref(other);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    ck_assert_ptr_null(arena_map_unref(NULL));

    int different = memfd_create("other", MFD_CLOEXEC);
    ck_assert(!arena_map_is_of(map, different));
    close(different);

    fd = reopen();
    ck_assert_int_eq(arena_map_new(fd, 0, &other), -EBADMSG);
    ck_assert_int_eq(arena_map_new(fd, page + 1, &other), -EBADMSG);
    ck_assert_int_eq(arena_map_new(fd, UINT64_MAX - page + 1, &other), -EBADMSG);
    ck_assert_int_lt(arena_map_new(fd, UINT64_C(1) << 62, &other), 0); /* no such address space */
    ck_assert_int_ge(fcntl(fd, F_GETFD), 0); /* the caller still owns it */
    close(fd);
    ck_assert_int_eq(arena_map_new(fd, page, &other), -EBADF);
    ck_assert_int_eq(pipe(pipes), 0);
    ck_assert_int_lt(arena_map_new(pipes[0], page, &other), 0);
    close(pipes[0]);
    close(pipes[1]);
    ck_assert_uint_eq(n_mappings(), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena_map");
    TCase *tests = tcase_create("arena_map");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, one_segment_is_a_part_of_the_one_mapping);
    tcase_add_test(tests, several_segments_are_contiguous);
    tcase_add_test(tests, idle_views_are_bounded);
    tcase_add_test(tests, used_views_stay);
    tcase_add_test(tests, a_range_keeps_its_map);
    tcase_add_test(tests, wrong_segments);
    tcase_add_test(tests, a_file_that_grows);
    tcase_add_test(tests, the_descriptor);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
