/* The table of errors: names, exit codes and texts that others rely on. */
#include "common/error.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    enum error error;
    const char *wire_name;
    int exit_code;
} expected[] = {
    {ERROR_OUT_OF_MEMORY, "io.edgemind.manager.OutOfMemory", 4},
    {ERROR_MUST_UNLOAD, "io.edgemind.manager.MustUnload", 5},
    {ERROR_BUSY, "io.edgemind.manager.Busy", 6},
    {ERROR_NOT_FOUND, "io.edgemind.manager.NotFound", 7},
    {ERROR_ALREADY_LOADED, "io.edgemind.manager.AlreadyLoaded", 10},
    {ERROR_INVALID_DEFINITION, "io.edgemind.manager.InvalidDefinition", 8},
    {ERROR_SOURCE_CHANGED, "io.edgemind.manager.SourceChanged", 1},
    {ERROR_LIMIT_EXCEEDED, "io.edgemind.manager.LimitExceeded", 1},
    {ERROR_IO_FAILED, "io.edgemind.manager.IOFailed", 1},
    {ERROR_INTERFACE_NOT_FOUND, "org.varlink.service.InterfaceNotFound", 1},
    {ERROR_METHOD_NOT_FOUND, "org.varlink.service.MethodNotFound", 1},
    {ERROR_METHOD_NOT_IMPLEMENTED, "org.varlink.service.MethodNotImplemented", 1},
    {ERROR_INVALID_PARAMETER, "org.varlink.service.InvalidParameter", 1},
    {ERROR_PERMISSION_DENIED, "org.varlink.service.PermissionDenied", 9},
    {ERROR_EXPECTED_MORE, "org.varlink.service.ExpectedMore", 1},
};

START_TEST(names_and_exit_codes)
{
    enum error error = expected[_i].error;

    ck_assert_str_eq(error_wire_name(error), expected[_i].wire_name);
    ck_assert_int_eq(error_from_wire_name(expected[_i].wire_name), error);
    ck_assert_int_eq(error_exit_code(error), expected[_i].exit_code);
}
END_TEST

START_TEST(every_error_has_its_own_text)
{
    ck_assert_uint_eq(sizeof expected / sizeof expected[0], ERROR_COUNT - 1);
    for (int i = ERROR_NONE; i < ERROR_COUNT; i++) {
        ck_assert_ptr_nonnull(error_text((enum error)i));
        ck_assert_uint_gt(strlen(error_text((enum error)i)), 0);
        for (int j = ERROR_NONE; j < i; j++)
            ck_assert_str_ne(error_text((enum error)i), error_text((enum error)j));
    }
}
END_TEST

START_TEST(no_error)
{
    ck_assert_ptr_null(error_wire_name(ERROR_NONE));
    ck_assert_int_eq(error_exit_code(ERROR_NONE), 0);
}
END_TEST

START_TEST(unknown_wire_names)
{
    static const char *const names[] = {"", "OutOfMemory", "io.edgemind.manager.",
                                        "io.edgemind.manager.outofmemory",
                                        "org.varlink.service.OutOfMemory"};
    ck_assert_int_eq(error_from_wire_name(names[_i]), ERROR_COUNT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("error");
    TCase *tests = tcase_create("error");

    tcase_add_loop_test(tests, names_and_exit_codes, 0, sizeof expected / sizeof expected[0]);
    tcase_add_test(tests, every_error_has_its_own_text);
    tcase_add_test(tests, no_error);
    tcase_add_loop_test(tests, unknown_wire_names, 0, 5);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
