/* Damaged ledgers: of another version or arena, truncated, and with each bit flipped. Each is
 * refused as a whole. */
#include "tests/unit/case_step.h"
#include "tests/unit/ledger_damage_fixture.h"
#include "tests/unit/run_suite.h"

#include <sys/socket.h>

START_TEST(test_every_bit)
{
    struct world world;
    make(&world);
    struct image image = image_take(ledger_fd(world.ledger));
    unsigned n_refused = 0, n_same = 0, n = 0, n_between = (unsigned)case_step();
    for (size_t i = 0; i < image.n_bytes; i++) {
        /* Most of the unwritten part is equal, so one bit of each 64 bytes is enough there. */
        static const unsigned char zeros[64];
        bool is_empty = memcmp(image.at + i / 64 * 64, zeros, 64) == 0;
        if (is_empty && i % 64 != i / 64 % 64)
            continue;
        for (unsigned bit = 0; bit < (is_empty ? 1 : 8); bit++) {
            bool is_same = false;
            if (n++ % n_between)
                continue;
            image.at[i] ^= (unsigned char)(1u << bit);
            int r = image_recover(&image, &world, &world.now, &is_same);
            image.at[i] ^= (unsigned char)(1u << bit);
            if (r < 0)
                n_refused++;
            else if (is_same)
                n_same++;
            else
                ck_abort_msg("byte %zu, bit %u makes it say something else", i, bit);
        }
    }
    ck_assert_uint_gt(n_refused, 1000 / n_between);
    ck_assert_uint_gt(n_same, 0);
    free(image.at);
    world_done(&world);
}
END_TEST

START_TEST(test_every_length)
{
    struct world world;
    struct ledger *ledger;
    struct ledger_recovery *recovery;
    char why[LEDGER_WHY_MAX];
    bool is_same = false;
    make(&world);
    struct image image = image_take(ledger_fd(world.ledger));
    ck_assert_int_eq(image_recover(&image, &world, &world.now, &is_same), 0);
    ck_assert(is_same);
    int fd = image_file(&image);
    for (size_t n = 1; n <= image.n_bytes; n += (size_t)case_step()) {
        REQUIRE(ftruncate(fd, (off_t)(image.n_bytes - n)) == 0);
        REQUIRE(ledger_recover(dup(fd), &world.identity, &ledger, &recovery, why) == -EBADMSG);
    }
    close(fd);
    free(image.at);
    world_done(&world);
}
END_TEST

START_TEST(test_another)
{
    struct world world;
    make(&world);
    struct image image = image_take(ledger_fd(world.ledger));
    struct ledger_header *header = (struct ledger_header *)(void *)image.at;
    struct ledger_arena other = world.identity;

    other.capacity_bytes -= PAGE;
    assert_refused(image_file(&image), &other, -ESTALE,
                   "the capacity was 49152 bytes and is now 45056");
    other = world.identity;
    other.page_bytes *= 2;
    assert_refused(image_file(&image), &other, -ESTALE, "backing");
    other = world.identity;
    other.backing++;
    assert_refused(image_file(&image), &other, -ESTALE, "backing");
    other = world.identity;
    other.fd = memfd_create("other", MFD_CLOEXEC);
    assert_refused(image_file(&image), &other, -ESTALE, "another arena");
    close(other.fd);
    other.fd = -1;
    assert_refused(image_file(&image), &other, -EBADF, "cannot read the ledger");

    header->version++;
    assert_refused(image_file(&image), &world.identity, -ESTALE,
                   "the ledger has format 4, this program has 3");
    header->version--;
    header->reserved = 1;
    header->crc = ledger_header_crc(header);
    assert_refused(image_file(&image), &world.identity, -EBADMSG, "header");
    free(image.at);
    world_done(&world);
}
END_TEST

START_TEST(test_no_ledger)
{
    struct world world;
    int fds[2];
    world_init(&world, 16);
    assert_refused(memfd_create("empty", MFD_CLOEXEC), &world.identity, -EBADMSG, "no ledger");
    assert_refused(-1, &world.identity, -EBADF, "cannot read the ledger");
    assert_refused(open("/", O_RDONLY | O_CLOEXEC), &world.identity, -EISDIR, "cannot read");
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_refused(fds[0], &world.identity, -ESPIPE, "cannot read");
    close(fds[1]);
    /* A ledger that cannot be written to is refused, because it could not be continued. */
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", ledger_fd(world.ledger));
    assert_refused(open(path, O_RDONLY | O_CLOEXEC), &world.identity, -EBADF, "cannot read");
    world_done(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger_damage");
    TCase *tcase = tcase_create("ledger_damage");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_every_bit);
    tcase_add_test(tcase, test_every_length);
    tcase_add_test(tcase, test_another);
    tcase_add_test(tcase, test_no_ledger);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
