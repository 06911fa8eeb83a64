/* The map of the arena: how many cells each share gets. */
#include "client/emctl/cell_map.h"
#include "tests/unit/random.h"
#include "tests/unit/run_suite.h"

#include <stdlib.h>
#include <string.h>

enum { CELLS = 20 };

/* The cells as text: the owner's digit, and a sign for the kind if it is not plainly resident. */
static const char *drawn(uint64_t capacity_bytes, const struct cell_share *shares, size_t n_shares)
{
    static char text[CELLS + 1];
    struct cell cells[CELLS];

    cell_map_fill(cells, CELLS, capacity_bytes, shares, n_shares);
    for (size_t i = 0; i < CELLS; i++)
        text[i] = cells[i].kind == CELL_FREE       ? '.'
                  : cells[i].kind == CELL_RESIDENT ? (char)('0' + cells[i].owner)
                                                   : "??L~+"[cells[i].kind];
    return text;
}

START_TEST(test_fill)
{
    const struct cell_share shares[] = {{1, CELL_RESIDENT, 50},
                                        {2, CELL_LEASED, 20},
                                        {2, CELL_STREAMED, 30},
                                        {3, CELL_LOADING, 20}};

    ck_assert_str_eq(drawn(200, shares, 4), "11111LL~~~++........");
    ck_assert_str_eq(drawn(200, shares, 0), "....................");
    ck_assert_str_eq(drawn(0, shares, 4), "....................");
    ck_assert_str_eq(drawn(120, shares, 4), "11111111LLLL~~~~~+++");
    ck_assert_str_eq(drawn(60, shares, 4), "11111111111111111LLL"); /* more than fits */
    ck_assert_str_eq(drawn(UINT64_MAX, shares, 4), "....................");
    const struct cell_share huge[] = {{1, CELL_RESIDENT, UINT64_MAX / 2}};
    ck_assert_str_eq(drawn(UINT64_MAX, huge, 1), "1111111111..........");
}
END_TEST

/* However small the shares are, together they have the cells of their sum. */
START_TEST(test_sum)
{
    ck_assert(random_begin());
    for (unsigned round = 0; round < 1000; round++) {
        struct cell_share shares[40];
        struct cell cells[CELLS];
        uint64_t sum = 0, capacity = 1 + random_below(1 << 20), n_used = 0;
        for (size_t i = 0; i < 40; i++) {
            uint64_t bytes = random_below(capacity / 40 + 1);
            shares[i] = (struct cell_share){i, CELL_RESIDENT, bytes};
            sum += bytes;
        }
        cell_map_fill(cells, CELLS, capacity, shares, 40);
        for (size_t i = 0; i < CELLS; i++)
            n_used += cells[i].kind != CELL_FREE;
        double exact = (double)sum * CELLS / (double)capacity;
        ck_assert(n_used <= exact + 0.51 && n_used >= exact - 0.51);
    }
}
END_TEST

START_TEST(test_share_model)
{
    struct cell_share shares[MODEL_SHARES];

    cell_map_share_model(shares, 7, 100, 30, 20, 5);
    const uint64_t expected[] = {30, 50, 20, 5}, all_leased[] = {100, 0, 0, 0};
    for (size_t i = 0; i < MODEL_SHARES; i++) {
        ck_assert_uint_eq(shares[i].bytes, expected[i]);
        ck_assert_uint_eq(shares[i].owner, 7);
    }
    /* Leases count first; figures that do not fit each other never give more than there is. */
    cell_map_share_model(shares, 7, 100, 1000, 80, 0);
    for (size_t i = 0; i < MODEL_SHARES; i++)
        ck_assert_uint_eq(shares[i].bytes, all_leased[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cell_map");
    TCase *tcase = tcase_create("cell_map");
    tcase_add_test(tcase, test_fill);
    tcase_add_test(tcase, test_sum);
    tcase_add_test(tcase, test_share_model);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
