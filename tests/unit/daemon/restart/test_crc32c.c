/* The checksum against published values. */
#include "daemon/restart/crc32c.h"
#include "tests/unit/run_suite.h"

#include <check.h>
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

int main(void)
{
    Suite *suite = suite_create("crc32c");
    TCase *tcase = tcase_create("crc32c");
    tcase_add_test(tcase, test_published);
    tcase_add_test(tcase, test_in_parts);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
