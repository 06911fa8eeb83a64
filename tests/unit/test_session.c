/* Verbs against a daemon that is played by a thread: what is said on standard error, what programs
 * read on standard output, and the exit code, for every kind of failure. */
#include "client/session.h"
#include "client/verb.h"
#include "common/error.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TEXT_MAX = 8192 };

static char directory[] = "/tmp/test-session-XXXXXX";
static struct sockaddr_un address;
static int listener;

static void setup(void)
{
    strcpy(strrchr(directory, '-'), "-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
}

static void teardown(void)
{
    close(listener);
    unlink(address.sun_path);
    rmdir(directory);
}

/* Takes one connection's first call, gives `answer` (a message; NULL for none) and hangs up; with
 * `interrupt` the user presses Ctrl-C instead, and the client is waited for. */
struct daemon {
    const char *answer;
    bool interrupt;
    char call[TEXT_MAX];
    bool hung_up; /* the client did */
};

static void *serve(void *argument)
{
    struct daemon *daemon = argument;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    size_t n = 0;

    do
        if (recv(fd, daemon->call + n, 1, 0) != 1)
            break;
    while (daemon->call[n++] != '\0' && n < sizeof daemon->call);
    if (daemon->answer)
        (void)!send(fd, daemon->answer, strlen(daemon->answer) + 1, MSG_NOSIGNAL);
    if (daemon->interrupt) {
        char byte;
        kill(getpid(), SIGINT);
        daemon->hung_up = recv(fd, &byte, 1, 0) == 0;
    }
    close(fd);
    return NULL;
}

/* Points descriptor `to` at a new file; the old one is in `ret_saved`. */
static FILE *divert(int to, int *ret_saved)
{
    FILE *file = tmpfile();
    fflush(NULL);
    *ret_saved = dup(to);
    dup2(fileno(file), to);
    return file;
}

static void restore(int to, int saved, FILE *file, char text[static TEXT_MAX])
{
    fflush(NULL);
    dup2(saved, to);
    close(saved);
    rewind(file);
    text[fread(text, 1, TEXT_MAX - 1, file)] = '\0';
    fclose(file);
}

static char out[TEXT_MAX], err[TEXT_MAX];

/* Runs the verb; `out` and `err` then hold what it printed. Returns the exit code. */
static int run(int (*verb)(struct session *), struct arguments arguments, struct daemon *daemon)
{
    pthread_t thread;
    sigset_t all, before;
    struct session session;
    int saved_out, saved_err;

    arguments.socket = address.sun_path;
    if (daemon) { /* its thread takes no signals */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        ck_assert_int_eq(pthread_create(&thread, NULL, serve, daemon), 0);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    FILE *file_out = divert(STDOUT_FILENO, &saved_out),
         *file_err = divert(STDERR_FILENO, &saved_err);
    session_init(&session, &arguments);
    int status = session_end(&session, verb(&session));
    restore(STDERR_FILENO, saved_err, file_err, err);
    restore(STDOUT_FILENO, saved_out, file_out, out);
    if (daemon)
        pthread_join(thread, NULL);
    return status;
}

#define MANAGER "io.edgemind.manager."
#define SERVICE "org.varlink.service."

static const struct {
    const char *error;
    const char *parameters;
    int status;
    const char *says;
} errors[] = {
    {MANAGER "OutOfMemory",
     "{\"requestedBytes\":67108864,\"availableBytes\":1,\"capacityBytes\":52428800,\"layer\":"
     "\"d3\"}",
     EXIT_OUT_OF_MEMORY, "layer d3 needs 64.0 MiB, the arena has 50.0 MiB. Raise capacity="},
    {MANAGER "OutOfMemory", "{\"requestedBytes\":1024,\"capacityBytes\":0}", EXIT_OUT_OF_MEMORY,
     "layer l needs 1.0 KiB"},
    {MANAGER "MustUnload",
     "{\"requestedBytes\":8388608,\"availableBytes\":2097152,\"capacityBytes\":52428800,"
     "\"victims\":[{\"model\":\"a\",\"layer\":\"0\"},{\"model\":\"a\",\"layer\":\"1\"},"
     "{\"model\":\"a\",\"layer\":\"2\"},{\"model\":\"a\",\"layer\":\"3\"}],\"victimsTotal\":2000}",
     EXIT_MUST_UNLOAD, "2000 layers would have to give way: a/0, a/1, a/2 and 1997 more. "},
    {MANAGER "Busy", "{\"leases\":[{\"model\":\"a\",\"layer\":\"0\"}],\"leasesTotal\":1}",
     EXIT_BUSY, "layer a/0 is in use. "},
    {MANAGER "NotFound", "{\"kind\":\"layer\",\"name\":\"l\"}", EXIT_NOT_FOUND,
     "model m has no layer l."},
    {MANAGER "NotFound", "{\"kind\":\"model\",\"name\":\"m\"}", EXIT_NOT_FOUND,
     "there is no model m."},
    {MANAGER "AlreadyLoaded", "{\"model\":\"m\"}", EXIT_OTHER, "model m is known already"},
    {MANAGER "InvalidDefinition", "{\"line\":3,\"column\":7,\"path\":\"\",\"message\":\"oops\"}",
     EXIT_INVALID_DEFINITION, ":3:7: oops\n"},
    {MANAGER "InvalidDefinition",
     "{\"line\":0,\"column\":0,\"path\":\"layers[3].in_features\",\"message\":\"oops\"}",
     EXIT_INVALID_DEFINITION, ": layers[3].in_features: oops\n"},
    {MANAGER "SourceChanged", "{\"path\":\"w.gguf\"}", EXIT_OTHER, "w.gguf has changed"},
    {MANAGER "LimitExceeded", "{\"limit\":\"models\",\"maximum\":1024}", EXIT_OTHER,
     "at most 1024 (models)"},
    {MANAGER "IOFailed", "{\"operation\":\"pread\",\"errnoName\":\"EIO\"}", EXIT_OTHER,
     "failed to pread: Input/output error (EIO)"},
    {SERVICE "PermissionDenied", "{}", EXIT_PERMISSION_DENIED, "admin-group="},
    {SERVICE "InvalidParameter", "{\"parameter\":\"layer\"}", EXIT_OTHER, "parameter layer"},
    {SERVICE "MethodNotFound", "{\"method\":\"x\"}", EXIT_OTHER, "another version"},
    {"com.example.Odd", "{\"a\":1}", EXIT_OTHER, "com.example.Odd {\"a\":1}"},
    /* Parameters that are missing, of the wrong type, or meant for the terminal. */
    {MANAGER "OutOfMemory", "{}", EXIT_OUT_OF_MEMORY, "out of memory"},
    {MANAGER "MustUnload", "{\"victims\":3,\"victimsTotal\":-1}", EXIT_MUST_UNLOAD, "must unload"},
    {MANAGER "MustUnload", "{\"victims\":[3,null,{}],\"victimsTotal\":3}", EXIT_MUST_UNLOAD, "?/?"},
    {MANAGER "Busy", "{\"leases\":{}}", EXIT_BUSY, "busy"},
    {MANAGER "NotFound", "{\"kind\":1,\"name\":[]}", EXIT_NOT_FOUND, "there is no"},
    {MANAGER "NotFound", "{\"kind\":\"model\",\"name\":\"\\u001b[2J\"}", EXIT_NOT_FOUND,
     "no model \\u001b[2J."},
    {"com.example.\\u001b[31mOdd", "{\"\\u001b\":\"\\u009b\"}", EXIT_OTHER, "\\u001b[31mOdd"},
};

START_TEST(error_replies)
{
    const struct arguments arguments = {.operands = {"m", "l"}, .n_operands = 2};
    char answer[TEXT_MAX];
    struct daemon daemon = {.answer = answer};

    snprintf(answer, sizeof answer, "{\"error\":\"%s\",\"parameters\":%s}", errors[_i].error,
             errors[_i].parameters);
    ck_assert_int_eq(run(verb_load_layer, arguments, &daemon), errors[_i].status);
    ck_assert_str_eq(out, "");
    ck_assert_msg(strstr(err, errors[_i].says), "%s", err);
    ck_assert_ptr_null(strchr(err, '\x1b'));
    ck_assert_ptr_eq(strchr(err, '\n'), err + strlen(err) - 1); /* one line */
}
END_TEST

START_TEST(error_reply_as_json)
{
    const struct arguments arguments = {.operands = {"m"}, .n_operands = 1, .json = true};
    struct daemon daemon = {.answer = "{\"error\":\"" MANAGER "NotFound\",\"parameters\":"
                                      "{\"kind\":\"model\",\"name\":\"m\"}}"};

    ck_assert_int_eq(run(verb_unload_model, arguments, &daemon), EXIT_NOT_FOUND);
    ck_assert_str_eq(out, "{\"error\":\"" MANAGER "NotFound\",\"parameters\":"
                          "{\"kind\":\"model\",\"name\":\"m\"}}\n");
    ck_assert_ptr_nonnull(strstr(err, "there is no model m."));
}
END_TEST

START_TEST(no_daemon)
{
    const struct arguments arguments = {0};

    ck_assert_int_eq(unlink(address.sun_path), 0);
    ck_assert_int_eq(run(verb_stats, arguments, NULL), EXIT_NO_DAEMON);
    ck_assert_ptr_nonnull(strstr(err, address.sun_path));
    ck_assert_ptr_nonnull(strstr(err, "systemctl start edgemindd"));
    /* Half of the answer is still an answer. */
    ck_assert_int_eq(run(verb_version, arguments, NULL), EXIT_DONE);
    ck_assert_str_eq(out, "emctl " EDGEMIND_VERSION "\n");
}
END_TEST

START_TEST(hangs_up)
{
    struct daemon daemon = {.answer = NULL};

    ck_assert_int_eq(run(verb_reset, (struct arguments){0}, &daemon), EXIT_NO_DAEMON);
    ck_assert_ptr_nonnull(strstr(err, "hung up"));
}
END_TEST

START_TEST(talks_rubbish)
{
    struct daemon daemon = {.answer = "HTTP/1.1 400 Bad Request\r\n"};

    ck_assert_int_eq(run(verb_reset, (struct arguments){0}, &daemon), EXIT_OTHER);
    ck_assert_ptr_nonnull(strstr(err, "no Varlink reply"));
    daemon = (struct daemon){.answer = "{\"parameters\":{\"evicted\":\"six\"}}"};
    ck_assert_int_eq(run(verb_reset, (struct arguments){0}, &daemon), EXIT_OTHER);
    ck_assert_ptr_nonnull(strstr(err, "not what io.edgemind.manager describes"));
    ck_assert_str_eq(out, "");
}
END_TEST

/* Ctrl-C while a load is on: hangs up, says so, and exits by itself. */
START_TEST(interrupted_load)
{
    const struct arguments arguments = {.operands = {"m", "l"}, .n_operands = 2};
    struct daemon daemon = {.interrupt = true};

    ck_assert_int_eq(run(verb_load_layer, arguments, &daemon), EXIT_INTERRUPTED);
    ck_assert(daemon.hung_up);
    ck_assert_ptr_nonnull(strstr(err, "interrupted"));
    ck_assert_str_eq(out, "");
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    ck_assert(!sigismember(&blocked, SIGINT));
}
END_TEST

START_TEST(calls)
{
    struct daemon daemon = {.answer = "{\"parameters\":{\"hit\":false,\"bytes\":5,"
                                      "\"mustUnload\":false,\"evicted\":0}}"};
    struct arguments arguments = {.operands = {"m", "l"}, .n_operands = 2, .on_full = "ask"};

    ck_assert_int_eq(run(verb_load_layer, arguments, &daemon), EXIT_DONE);
    ck_assert_str_eq(daemon.call, "{\"method\":\"" MANAGER "LoadLayer\",\"parameters\":"
                                  "{\"model\":\"m\",\"layer\":\"l\",\"onFull\":\"ask\"}}");
    ck_assert_str_eq(out, "m/l: 5 B loaded\n");

    arguments = (struct arguments){.operands = {"\xff"}, .n_operands = 1};
    ck_assert_int_eq(run(verb_unload_model, arguments, NULL), EXIT_USAGE);
    ck_assert_ptr_nonnull(strstr(err, "UTF-8"));
    ck_assert_int_eq(run(verb_set_policy, (struct arguments){0}, NULL), EXIT_USAGE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tests = tcase_create("session");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, error_replies, 0, (int)(sizeof errors / sizeof *errors));
    tcase_add_test(tests, error_reply_as_json);
    tcase_add_test(tests, no_daemon);
    tcase_add_test(tests, hangs_up);
    tcase_add_test(tests, talks_rubbish);
    tcase_add_test(tests, interrupted_load);
    tcase_add_test(tests, calls);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
