/* Shares of the memory for pending replies: what one user leaves to the others, and to root. */
#include "daemon/control/pending.h"
#include "tests/unit/run_suite.h"

enum { LIMIT_BYTES = 1200 };

/* Users take one byte each in turn, until they are refused. The result is what each of them
 * gets. */
static uint64_t share_of(unsigned n_users)
{
    struct pending pending = {.limit_bytes = LIMIT_BYTES};
    uint64_t held_bytes[8] = {0};

    for (unsigned i = 0; i < 10 * LIMIT_BYTES; i++) {
        uint64_t *bytes = &held_bytes[i % n_users];
        if (pending_admits(&pending, false, *bytes))
            pending_change(&pending, false, bytes, *bytes + 1);
    }
    for (unsigned i = 1; i < n_users; i++) {
        ck_assert_uint_ge(held_bytes[i] + 1, held_bytes[0]);
        ck_assert_uint_le(held_bytes[i], held_bytes[0] + 1);
    }
    ck_assert(pending_admits(&pending, false, 0)); /* a user that holds nothing finds room */
    return held_bytes[0];
}

START_TEST(test_shares)
{
    for (unsigned n = 1; n <= 8; n++) {
        uint64_t share_bytes = share_of(n);
        ck_assert_uint_ge(share_bytes, LIMIT_BYTES / (n + 1) - 1);
        ck_assert_uint_le(share_bytes, LIMIT_BYTES / (n + 1) + 1);
    }
}
END_TEST

/* However much members hold, root's share stays free, and the reverse. */
START_TEST(test_root)
{
    struct pending pending = {.limit_bytes = LIMIT_BYTES};
    uint64_t member_bytes = 0, root_bytes = 0;

    pending_change(&pending, false, &member_bytes, 2 * LIMIT_BYTES);
    ck_assert(!pending_admits(&pending, false, 0));
    ck_assert(pending_admits(&pending, true, LIMIT_BYTES / PENDING_ROOT_PART));
    ck_assert(!pending_admits(&pending, true, LIMIT_BYTES / PENDING_ROOT_PART + 1));
    ck_assert(!pending_has_room(&pending, false, 1));
    ck_assert(pending_has_room(&pending, true, LIMIT_BYTES / 2));
    ck_assert(pending_has_room(&pending, true, 9 * LIMIT_BYTES)); /* a single reply */
    pending_change(&pending, true, &root_bytes, 1);
    ck_assert(pending_has_room(&pending, true, LIMIT_BYTES / 2 - 1));
    ck_assert(!pending_has_room(&pending, true, LIMIT_BYTES / 2));
    ck_assert_uint_eq(pending_most_bytes(LIMIT_BYTES), 2 * LIMIT_BYTES + LIMIT_BYTES / 2);

    pending_change(&pending, true, &root_bytes, LIMIT_BYTES);
    pending_change(&pending, false, &member_bytes, LIMIT_BYTES / 2);
    ck_assert(pending_admits(&pending, false, member_bytes));
    ck_assert(pending_has_room(&pending, false, 3 * LIMIT_BYTES / 2));
    ck_assert(!pending_has_room(&pending, false, 3 * LIMIT_BYTES / 2 + 1));
    ck_assert(!pending_has_room(&pending, false, UINT64_MAX));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pending");
    TCase *tcase = tcase_create("pending");

    tcase_add_test(tcase, test_shares);
    tcase_add_test(tcase, test_root);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
