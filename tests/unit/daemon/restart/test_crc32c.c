/* The checksum against published values. */
#include "daemon/restart/crc32c.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <stdbool.h>
#include <string.h>

START_TEST(test_published)
{
    unsigned char bytes[32];
    ck_assert_uint_eq(crc32c(0, "", 0), 0);
    ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
    /* RFC 3720, appendix B.4. */
    memset(bytes, 0, sizeof bytes);
    ck_assert_uint_eq(crc32c(0, bytes, sizeof bytes), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    ck_assert_uint_eq(crc32c(0, bytes, sizeof bytes), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    ck_assert_uint_eq(crc32c(0, bytes, sizeof bytes), 0x46dd794e);
}
END_TEST

START_TEST(test_in_parts)
{
    for (size_t i = 0; i <= 9; i++)
        ck_assert_uint_eq(crc32c(crc32c(0, "123456789", i), "123456789" + i, 9 - i), 0xe3069283);
}
END_TEST

/* Both ways agree, whatever the length and the alignment. */
START_TEST(test_portable)
{
    unsigned char bytes[64];
    bool good = true;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 151 + 7);
    for (unsigned begin = 0; begin < 9; begin++)
        for (unsigned n = 0; n <= sizeof bytes - begin; n++)
            good &= crc32c(n, bytes + begin, n) == crc32c_portable(n, bytes + begin, n);
    ck_assert(good);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crc32c");
    TCase *tcase = tcase_create("crc32c");
    tcase_add_test(tcase, test_published);
    tcase_add_test(tcase, test_in_parts);
    tcase_add_test(tcase, test_portable);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
