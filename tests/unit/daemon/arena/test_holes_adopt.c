/* What was given back by one process stays so in the next one. */
#include "daemon/arena/holes.h"
#include "tests/unit/holes_fixture.h"
#include "tests/unit/run_suite.h"

static void adopt_as(bool keep_holes, enum commit commit, int fd)
{
    end();
    adopt_with(
        &(struct backing_config){20 * MIB + 100, HUGE_PAGES_NEVER, commit, false, keep_holes}, fd);
    begin();
}

/* The next process finds the holes in the file. */
START_TEST(holes_are_adopted)
{
    struct allocation used[2] = {0};
    begin_with(20 * MIB, COMMIT_BOOT);
    write_pattern(20 * MIB);
    ck_assert_int_eq(arena_alloc(arena, 3 * MIB / page, &used[0]), 0);
    ck_assert_int_eq(arena_alloc(arena, 4 * MIB / page + 1, &used[1]), 0);
    arena_release(arena, &used[0]);
    give();
    uint64_t n_bytes = 16 * MIB - backing_unit_bytes(backing);
    expect_holes(n_bytes);
    int other = fcntl(backing_fd(backing), F_DUPFD_CLOEXEC, 3);
    adopt_as(true, COMMIT_BOOT, leave());
    expect_holes(n_bytes);
    ck_assert(has_pattern(3 * MIB, 7 * MIB + page));
    take(UINT64_MAX);
    expect_holes(0);
    ck_assert(has_pattern(3 * MIB, 7 * MIB + page));
    give();
    expect_holes(20 * MIB);
    /* Without keep_holes they are committed. */
    backing = backing_free(backing);
    adopt_as(false, COMMIT_BOOT, other);
    expect_holes(0);
    allocation_done(&used[0]); /* of the first arena */
    allocation_done(&used[1]);
}
END_TEST

START_TEST(holes_below_a_mark_are_adopted)
{
    begin_with(20 * MIB, COMMIT_LOAD);
    grow_and_commit(10 * MIB + page);
    give();
    expect_holes(10 * MIB);
    adopt_as(true, COMMIT_LOAD, leave());
    ck_assert_uint_eq(backing_mark_bytes(backing), 10 * MIB + page);
    expect_holes(10 * MIB);
}
END_TEST

/* A hole that is no whole unit, as after a crash of another kind, is committed. */
START_TEST(parts_of_units_are_committed)
{
    begin_with(20 * MIB, COMMIT_BOOT);
    uint64_t unit_bytes = backing_unit_bytes(backing);
    ck_assert_int_eq(backing_punch(backing, page, page), 0);
    ck_assert_int_eq(backing_punch(backing, 2 * unit_bytes - page, unit_bytes + 2 * page), 0);
    adopt_as(true, COMMIT_BOOT, leave());
    expect_holes(unit_bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("holes_adopt");
    TCase *tcase = tcase_create("adopt");
    tcase_add_checked_fixture(tcase, setup, tear_all_down);
    tcase_add_test(tcase, holes_are_adopted);
    tcase_add_test(tcase, holes_below_a_mark_are_adopted);
    tcase_add_test(tcase, parts_of_units_are_committed);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
