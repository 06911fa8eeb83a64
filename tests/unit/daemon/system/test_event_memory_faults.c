/* libevent gets small blocks although malloc fails, and gives them back; a large block it does not
 * get. */
#include "daemon/system/event_memory.h"

#include "tests/unit/failing_allocator.h"
#include "tests/unit/run_suite.h"

#include <event2/buffer.h>
#include <stdbool.h>
#include <string.h>

static void fail_next(void)
{
    may_fail = 1;
    allocations_until_failure = 1;
}

/* More often than there are blocks in the reserve. */
START_TEST(test_small_and_large)
{
    char text[300], read[300];
    memset(text, 'x', sizeof text);
    event_memory_install();
    for (unsigned i = 0; i < 1000; i++) {
        fail_next();
        struct evbuffer *buffer = evbuffer_new();
        bool has_failed = allocations_until_failure == 0;
        fail_next();
        int r = evbuffer_add(buffer, text, sizeof text);
        has_failed &= allocations_until_failure == 0;
        fail_next();
        int large = evbuffer_expand(buffer, 1 << 20);
        has_failed &= allocations_until_failure == 0;
        may_fail = 0;
        ck_assert_ptr_nonnull(buffer);
        ck_assert_int_eq(r, 0);
        ck_assert_int_lt(large, 0);
        ck_assert(has_failed);
        ck_assert_int_eq(evbuffer_remove(buffer, read, sizeof read), sizeof read);
        ck_assert_int_eq(memcmp(read, text, sizeof text), 0);
        evbuffer_free(buffer);
    }
}
END_TEST

/* What libevent itself calls. */
void *event_mm_malloc_(size_t n_bytes);
void *event_mm_realloc_(void *memory, size_t n_bytes);
void event_mm_free_(void *memory);

/* A block of the reserve keeps its bytes, wherever it goes. */
START_TEST(test_resize)
{
    event_memory_install();
    for (unsigned i = 0; i < 1000; i++) {
        fail_next();
        char *block = event_mm_malloc_(10);
        ck_assert_ptr_nonnull(block);
        strcpy(block, "9 letters");
        fail_next();
        ck_assert_ptr_eq(event_mm_realloc_(block, 1000), block);
        fail_next();
        ck_assert_ptr_null(event_mm_realloc_(block, 5000));
        may_fail = 0;
        char *moved = event_mm_realloc_(block, 5000);
        ck_assert_ptr_nonnull(moved);
        ck_assert_ptr_ne(moved, block);
        ck_assert_str_eq(moved, "9 letters");
        event_mm_free_(moved);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("event-memory");
    TCase *tcase = tcase_create("event-memory");
    tcase_add_test(tcase, test_small_and_large);
    tcase_add_test(tcase, test_resize);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
