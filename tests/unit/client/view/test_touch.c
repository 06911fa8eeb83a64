/* Whether it is seen that a page was read. */
#include "client/view/touch.h"
#include "tests/unit/run_suite.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

START_TEST(reads)
{
    size_t page_bytes = getauxval(AT_PAGESZ), n_bytes = 64 * page_bytes;
    int fd = touch_open(), file = memfd_create("touch", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(file, (off_t)n_bytes), 0);

    /* As in a view: all pages but the first are in the page table. */
    const volatile char *pages = mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, file, 0);
    ck_assert_ptr_ne((const void *)pages, MAP_FAILED);
    for (size_t i = 0; i < n_bytes; i += page_bytes)
        (void)pages[i];
    ck_assert_ptr_eq(
        mmap((void *)(uintptr_t)pages, page_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0),
        (const void *)pages);
    ck_assert(!touch_is_seen(fd, (const void *)pages));
    ck_assert(touch_is_seen(fd, (const char *)(uintptr_t)pages + page_bytes));
    (void)pages[n_bytes - 1];
    ck_assert(!touch_is_seen(fd, (const void *)pages));
    (void)pages[page_bytes / 2];
    ck_assert(touch_is_seen(fd, (const void *)pages));

    ck_assert_int_eq(madvise((void *)(uintptr_t)pages, page_bytes, MADV_DONTNEED), 0);
    ck_assert(!touch_is_seen(fd, (const void *)pages));
    (void)pages[0];
    ck_assert(touch_is_seen(fd, (const void *)pages));

    ck_assert(!touch_is_seen(-1, (const void *)pages));
    munmap((void *)(uintptr_t)pages, n_bytes);
    close(file);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("touch");
    TCase *tcase = tcase_create("touch");

    tcase_add_test(tcase, reads);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
