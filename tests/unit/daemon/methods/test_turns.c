/* Turns: how many plans run together, which comes next, which are refused. */
#include "daemon/methods/turns.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

struct work {
    struct turn turn;
    int n_begun;
};

static void begun(struct turn *turn)
{
    ((struct work *)turn)->n_begun++;
}

static int await(struct turns *turns, struct work *work, uid_t uid, enum tier tier)
{
    struct peer peer = {.uid = uid, .tier = tier};
    return turn_await(turns, &work->turn, &peer, begun);
}

START_TEST(test_members_share_two_turns)
{
    struct turns turns;
    struct work a1 = {0}, a2 = {0}, b = {0}, c = {0};
    turns_init(&turns);
    ck_assert_int_eq(await(&turns, &a1, 1, TIER_MEMBER), 0);
    ck_assert_int_eq(await(&turns, &a2, 1, TIER_MEMBER), 0);
    ck_assert_int_eq(await(&turns, &b, 2, TIER_MEMBER), 0);
    ck_assert_int_eq(await(&turns, &c, 3, TIER_MEMBER), 0);
    ck_assert(a1.n_begun && !a2.n_begun && b.n_begun && !c.n_begun);
    turn_end(&a1.turn);
    ck_assert(!a2.n_begun && c.n_begun); /* c has had none yet */
    turn_end(&b.turn);
    ck_assert(a2.n_begun);
    turn_end(&c.turn);
    turn_end(&a2.turn);
    turn_end(&a2.turn); /* no harm */
    ck_assert_int_eq(a1.n_begun + a2.n_begun + b.n_begun + c.n_begun, 4);
}
END_TEST

START_TEST(test_members_keep_no_administrator_waiting)
{
    struct turns turns;
    struct work a = {0}, b = {0}, c = {0}, root = {0}, more = {0};
    turns_init(&turns);
    await(&turns, &a, 1, TIER_MEMBER);
    await(&turns, &b, 2, TIER_MEMBER);
    await(&turns, &c, 3, TIER_MEMBER);
    ck_assert_int_eq(await(&turns, &root, 0, TIER_ADMIN), 0);
    ck_assert_int_eq(await(&turns, &more, 0, TIER_ADMIN), 0);
    ck_assert(root.n_begun && !more.n_begun);
    turn_end(&root.turn);
    ck_assert(more.n_begun && !c.n_begun);
    turn_end(&more.turn);
    ck_assert(!c.n_begun); /* the administrators' turn is for them alone */
    turn_end(&a.turn);
    turn_end(&b.turn);
    turn_end(&c.turn);
}
END_TEST

/* Files that do not answer: others may plan, and their user not for ever more. */
START_TEST(test_stuck)
{
    struct turns turns;
    struct work stuck[TURNS_STUCK_MAX] = {0}, mine = {0}, other = {0}, others[2] = {0};
    turns_init(&turns);
    for (int i = 0; i < TURNS_STUCK_MAX; i++) {
        ck_assert_int_eq(await(&turns, &stuck[i], 1, TIER_MEMBER), 0);
        ck_assert(stuck[i].n_begun);
        turn_over(&stuck[i].turn);
        turn_stuck(&stuck[i].turn);
    }
    ck_assert_int_eq(await(&turns, &mine, 1, TIER_MEMBER), 0);
    ck_assert(!mine.n_begun);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(await(&turns, &others[i], 2 + (uid_t)i, TIER_MEMBER), 0);
        ck_assert(others[i].n_begun);
        turn_end(&others[i].turn);
    }
    for (int i = 0; i < TURNS_STUCK_MAX; i++)
        stuck[i].turn.stuck_usec -= TURNS_STUCK_USEC;
    ck_assert_int_eq(await(&turns, &other, 1, TIER_MEMBER), -EBUSY);
    turn_end(&stuck[0].turn);
    ck_assert(mine.n_begun);
    ck_assert_int_eq(await(&turns, &other, 1, TIER_MEMBER), 0);
    for (int i = 1; i < TURNS_STUCK_MAX; i++)
        turn_end(&stuck[i].turn);
    turn_end(&mine.turn);
    ck_assert(other.n_begun);
    turn_end(&other.turn);
}
END_TEST

START_TEST(test_limits)
{
    enum { N_USERS = TURNS_MAX / TURNS_PER_USER_MAX };
    struct turns turns;
    struct work *works = calloc(TURNS_MAX, sizeof *works), one = {0}, root = {0};
    turns_init(&turns);
    for (int i = 0; i < TURNS_MAX; i++)
        ck_assert_int_eq(await(&turns, &works[i], 1 + (uid_t)i / TURNS_PER_USER_MAX, TIER_MEMBER),
                         0);
    ck_assert_int_eq(await(&turns, &one, 1, TIER_MEMBER), -EDQUOT); /* has reached its limit */
    ck_assert_int_eq(await(&turns, &one, N_USERS + 1, TIER_MEMBER),
                     -EDQUOT); /* all have reached their limits */
    ck_assert_int_eq(await(&turns, &root, 0, TIER_ADMIN), 0);
    ck_assert(root.n_begun);
    turn_end(&works[0].turn);
    ck_assert_int_eq(await(&turns, &one, N_USERS + 1, TIER_MEMBER), 0);
    turn_end(&one.turn);
    turn_end(&root.turn);
    for (int i = 1; i < TURNS_MAX; i++)
        turn_end(&works[i].turn);
    for (int i = 1; i < TURNS_MAX; i++)
        ck_assert_int_le(works[i].n_begun, 1);
    free(works);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("turns");
    TCase *tcase = tcase_create("turns");
    tcase_add_test(tcase, test_members_share_two_turns);
    tcase_add_test(tcase, test_members_keep_no_administrator_waiting);
    tcase_add_test(tcase, test_stuck);
    tcase_add_test(tcase, test_limits);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
