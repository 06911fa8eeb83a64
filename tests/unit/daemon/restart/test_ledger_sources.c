/* Stored descriptors: each is given to its file, once, and none is left open. */
#include "daemon/restart/ledger.h"

#include "daemon/weights/model_parse.h"
#include "tests/unit/count_open.h"
#include "tests/unit/ledger_fixture.h"
#include "tests/unit/run_suite.h"

static struct model *model_of(const char *name, int fd)
{
    struct model_source source = {.fd = dup(fd), .name = strdup(name)};
    struct model_read_result result;
    REQUIRE(model_parse(&source, &result) == 0);
    model_source_done(&source);
    struct model *model = model_new(result.definition);
    definition_unref(result.definition);
    return model;
}

static int weights_file(void)
{
    struct bytes bytes =
        safetensors_bytes("{\"x\":{\"dtype\":\"U8\",\"shape\":[7],\"data_offsets\":[0,7]}}", 7);
    int fd = memfd_create("weights", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && pwrite(fd, bytes.at, bytes.n, 0) == (ssize_t)bytes.n);
    REQUIRE(ftruncate(fd, (off_t)bytes.size_bytes) == 0);
    free(bytes.at);
    return fd;
}

/* Two models of the one file, one of the other. */
struct stored {
    struct world world;
    int files[2];
    struct model *models[3];
    struct ledger_recovery *recovery;
};

static void setup(struct stored *stored)
{
    static const char *const names[] = {"a", "b", "c"};
    struct ledger *ledger;
    char why[LEDGER_WHY_MAX];
    world_init(&stored->world, 16);
    for (unsigned i = 0; i < 2; i++)
        stored->files[i] = weights_file();
    for (unsigned i = 0; i < 3; i++) {
        stored->models[i] = model_of(names[i], stored->files[i / 2]);
        REQUIRE(ledger_add_model(stored->world.ledger, stored->models[i]) == 0);
    }
    ck_assert_int_eq(ledger_recover(dup(ledger_fd(stored->world.ledger)), &stored->world.identity,
                                    &ledger, &stored->recovery, why),
                     0);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_str_eq(stored->recovery->models[i].definition->name, names[i]);
        ck_assert_uint_eq(stored->recovery->models[i].id,
                          ledger_model_id(stored->world.ledger, stored->models[i]));
    }
    ledger_free(ledger);
}

static void teardown(struct stored *stored)
{
    ledger_recovery_free(stored->recovery);
    for (unsigned i = 0; i < 3; i++)
        model_free(stored->models[i], stored->world.arena);
    close(stored->files[0]);
    close(stored->files[1]);
    world_done(&stored->world);
}

/* Gives a duplicate of `fd`. */
static int take(struct stored *stored, int fd)
{
    return ledger_recovery_take_source(stored->recovery, fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

static const struct weight_file *file_of(const struct stored *stored, unsigned model)
{
    return &stored->recovery->models[model].definition->files[0];
}

START_TEST(test_take)
{
    struct stored stored;
    size_t n_open = count_open();
    setup(&stored);
    size_t n_before = count_open();
    ck_assert(weight_file_changed(file_of(&stored, 0)));
    int other = weights_file();
    ck_assert_int_eq(take(&stored, other), -ENOENT);
    close(other);
    ck_assert_int_eq(ledger_recovery_take_source(stored.recovery, -1), -EBADF);
    ck_assert_uint_eq(count_open(), n_before);
    ck_assert_int_eq(take(&stored, stored.files[0]), 0);
    ck_assert(!weight_file_changed(file_of(&stored, 0)));
    ck_assert_int_eq(take(&stored, stored.files[0]), 0); /* the second model's */
    ck_assert(!weight_file_changed(file_of(&stored, 1)));
    ck_assert(weight_file_changed(file_of(&stored, 2)));
    ck_assert_int_eq(take(&stored, stored.files[0]), -ENOENT);
    ck_assert_uint_eq(count_open(), n_before + 2);
    teardown(&stored);
    ck_assert_uint_eq(count_open(), n_open);
}
END_TEST

/* A file is stored once: models of the same file share it. */
START_TEST(test_share)
{
    struct stored stored;
    size_t n_open = count_open();
    setup(&stored);
    ck_assert_uint_eq(ledger_recovery_share_sources(stored.recovery), 3);
    ck_assert_int_eq(take(&stored, stored.files[0]), 0);
    ck_assert_uint_eq(ledger_recovery_share_sources(stored.recovery), 1);
    ck_assert_int_ge(file_of(&stored, 0)->fd, 0);
    ck_assert_int_ne(file_of(&stored, 0)->fd, file_of(&stored, 1)->fd);
    ck_assert_int_eq(file_of(&stored, 2)->fd, -1);
    ck_assert_int_eq(take(&stored, stored.files[1]), 0);
    ck_assert_uint_eq(ledger_recovery_share_sources(stored.recovery), 0);
    teardown(&stored);
    ck_assert_uint_eq(count_open(), n_open);
}
END_TEST

/* A descriptor that the loader could not read from is given to no model. */
START_TEST(test_unreadable)
{
    struct stored stored;
    char path[64];
    setup(&stored);
    snprintf(path, sizeof path, "/proc/self/fd/%d", stored.files[0]);
    int write_only = open(path, O_WRONLY | O_CLOEXEC), no_access = open(path, O_PATH | O_CLOEXEC);
    ck_assert_int_eq(take(&stored, write_only), -ENOENT);
    ck_assert_int_eq(take(&stored, no_access), -ENOENT);
    close(write_only);
    close(no_access);
    teardown(&stored);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger_sources");
    TCase *tcase = tcase_create("ledger_sources");
    tcase_add_test(tcase, test_take);
    tcase_add_test(tcase, test_share);
    tcase_add_test(tcase, test_unreadable);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
