/* When a view looks whether a unit is used. */
#include "client/view/chance.h"
#include "tests/unit/run_suite.h"

#include <check.h>

enum { BEGUN = 5000, LATER = BEGUN + 1000 * CHANCE_PART };

START_TEST(time_for_samples)
{
    struct chance chance = {.begun_usec = BEGUN};

    ck_assert(!chance_may_sample(&chance, BEGUN));
    chance.spent_usec = 999;
    ck_assert(chance_may_sample(&chance, LATER));
    chance.spent_usec = 1000;
    ck_assert(!chance_may_sample(&chance, LATER));
    chance.read_usec = 70; /* as long again as units are read */
    ck_assert(chance_may_sample(&chance, LATER));
    chance.spent_usec = 1070;
    ck_assert(!chance_may_sample(&chance, LATER));
}
END_TEST

START_TEST(all_are_recorded)
{
    struct chance chance = {.spent_usec = UINT64_MAX, .routes = (struct route_record *)&chance};
    ck_assert(chance_may_sample(&chance, LATER));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chance");
    TCase *tcase = tcase_create("chance");
    tcase_add_test(tcase, time_for_samples);
    tcase_add_test(tcase, all_are_recorded);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
