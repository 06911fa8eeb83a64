/* emctl cat: the bytes of a layer, whatever happens to the daemon meanwhile. */
#include "client/emctl/verb.h"
#include "common/error.h"
#include "tests/unit/run_suite.h"
#include "tests/unit/session_fixture.h"

#include <sys/mman.h>

static const struct arguments layer = {.operands = {"m", "l"}, .n_operands = 2};

/* An arena of zeros with "weights" in bytes 4 to 10. */
static int new_arena(void)
{
    int fd = memfd_create("arena", MFD_CLOEXEC);
    ck_assert_int_eq(ftruncate(fd, 65536), 0);
    ck_assert_int_eq(pwrite(fd, "weights", 7, 4), 7);
    return fd;
}

#define ACQUIRED(tensors)                                                                     \
    "{\"parameters\":{\"lease\":\"9\",\"layer\":\"l\",\"bytes\":7,\"fill\":1,\"segments\":[{" \
    "\"offset\":4,"                                                                           \
    "\"length\":7}],\"tensors\":[" tensors "],\"arenaFileDescriptor\":0}}"
#define TENSOR(name, offset, bytes)                                                    \
    "{\"name\":\"" name "\",\"dtype\":\"U8\",\"shape\":[" bytes "],\"offset\":" offset \
    ",\"bytes\":" bytes "}"
#define TENSORS  TENSOR("end", "5", "2") "," TENSOR("\u202e", "0", "3")
#define CAPACITY "{\"parameters\":{\"arena\":{\"capacityBytes\":65536}}}"

START_TEST(cat)
{
    static const struct {
        const char *tensor, *answer;
        int status;
        const char *out;
    } cases[] = {
        {NULL, ACQUIRED(""), EXIT_DONE, "weights"},
        {NULL, ACQUIRED(TENSORS), EXIT_DONE, "weits"}, /* in order, without the gap */
        {"end", ACQUIRED(TENSORS), EXIT_DONE, "ts"},
        {"\u202e", ACQUIRED(TENSORS), EXIT_DONE, "wei"}, /* the name itself, not its safe form */
        {"nope", ACQUIRED(TENSORS), EXIT_NOT_FOUND, ""},
        {NULL, ACQUIRED("{}"), EXIT_OTHER, ""},
        {NULL, "{}", EXIT_OTHER, ""},
        {NULL, "{\"parameters\":{\"arenaFileDescriptor\":1}}", EXIT_OTHER, ""},
        {NULL,
         "{\"error\":\"" MANAGER "NotFound\",\"parameters\":{\"kind\":\"layer\",\"name\":\"l\"}}",
         EXIT_NOT_FOUND, ""},
    };
    const int fd = new_arena();

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arguments arguments = {.operands = {"m", "l", cases[i].tensor}, .n_operands = 3};
        struct daemon daemon = {.answer = cases[i].answer, .further = {CAPACITY, ""}, .fd = fd};
        ck_assert_int_eq(run(verb_cat, arguments, &daemon), cases[i].status);
        ck_assert_str_eq(out, cases[i].out);
        ck_assert_int_eq(*err != '\0', cases[i].status != EXIT_DONE);
        if (cases[i].status == EXIT_DONE)
            ck_assert_str_eq(daemon.call,
                             "{\"method\":\"" MANAGER "Release\",\"parameters\":{\"lease\":\"9\"},"
                             "\"oneway\":true}");
    }
    close(fd);
}
END_TEST

#define NO_MODEL \
    "{\"error\":\"" MANAGER "NotFound\",\"parameters\":{\"kind\":\"model\",\"name\":\"m\"}}"

/* The daemon hangs up on the call and comes back, with the layer or without. */
START_TEST(cat_over_a_restart)
{
    struct daemon warm = {.answer = ACQUIRED(""), .further = {CAPACITY, ""}, .fd = new_arena()};
    struct daemon cold = {.answer = NO_MODEL};
    struct daemon daemon = {.successor = &warm};

    ck_assert_int_eq(run(verb_cat, layer, &daemon), EXIT_DONE);
    ck_assert_str_eq(out, "weights");
    ck_assert_str_eq(err, "");
    ck_assert_ptr_nonnull(strstr(warm.call, "Release"));
    close(warm.fd);

    daemon.successor = &cold;
    ck_assert_int_eq(run(verb_cat, layer, &daemon), EXIT_NOT_FOUND);
    ck_assert_str_eq(out, "");
    ck_assert_ptr_nonnull(strstr(err, "there is no model m."));
    ck_assert_str_eq(cold.call, daemon.call);
}
END_TEST

START_TEST(cat_without_a_daemon)
{
    ck_assert_int_eq(unlink(address.sun_path), 0);
    ck_assert_int_eq(run(verb_cat, layer, NULL), EXIT_NO_DAEMON);
    ck_assert_ptr_nonnull(strstr(err, "systemctl start edgemindd"));
}
END_TEST

/* Another daemon has truncated the arena since the lease, and does not know the lease. */
START_TEST(cat_of_a_lost_arena)
{
    struct daemon cold = {.answer = NO_MODEL};
    struct daemon daemon = {
        .answer = ACQUIRED(""), .further = {CAPACITY}, .fd = new_arena(), .successor = &cold};

    ck_assert_int_eq(ftruncate(daemon.fd, 6), 0);
    ck_assert_int_eq(run(verb_cat, layer, &daemon), EXIT_NOT_FOUND);
    ck_assert_str_eq(out, "");
    ck_assert_ptr_nonnull(strstr(err, "there is no model m."));
    close(daemon.fd);
}
END_TEST

START_TEST(cat_has_no_json)
{
    struct arguments arguments = layer;

    arguments.json = true;
    ck_assert_int_eq(run(verb_cat, arguments, NULL), EXIT_USAGE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("verb_cat");
    TCase *tests = tcase_create("verb_cat");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, cat);
    tcase_add_test(tests, cat_over_a_restart);
    tcase_add_test(tests, cat_without_a_daemon);
    tcase_add_test(tests, cat_of_a_lost_arena);
    tcase_add_test(tests, cat_has_no_json);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
