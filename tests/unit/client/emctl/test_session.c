/* Verbs against a daemon that is played by a thread: what is said on standard error, what programs
 * read on standard output, and the exit code, for every kind of failure. */
#include "client/emctl/session.h"
#include "client/emctl/verb.h"
#include "common/error.h"
#include "common/policy_names.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

enum { ANSWERS_MAX = 5 };

/* Takes one connection's calls, answers each with its message (`answer`, then `further`; NULL for
 * none, "" where none is waited for) and hangs up; the first answer carries `fd` if that is above
 * 0. With `interrupt` the user presses Ctrl-C instead, and the client is waited for. The
 * `successor`, if any, takes the next connection. */
struct daemon {
    const char *answer;
    const char *further[ANSWERS_MAX];
    int fd;
    bool interrupt;
    struct daemon *successor;
    char call[TEXT_MAX]; /* the last one */
    int n_fds;           /* that came with it */
    bool hung_up;        /* the client did */
};

/* A byte, and how many descriptors came with it. */
static bool receive_byte(int fd, char *ret, int *n_fds)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct iovec vector = {ret, 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};

    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != 1)
        return false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        int fds[8];
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(c), n * sizeof(int));
        for (size_t i = 0; i < n; i++)
            close(fds[i]);
        *n_fds += (int)n;
    }
    return true;
}

static bool receive_call(int fd, struct daemon *daemon)
{
    size_t n = 0;

    daemon->n_fds = 0;
    do
        if (!receive_byte(fd, daemon->call + n, &daemon->n_fds))
            return false;
    while (daemon->call[n++] != '\0' && n < sizeof daemon->call);
    return true;
}

static void answer(int fd, const char *text, int sent_fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec vector = {(char *)(uintptr_t)text, strlen(text) + 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

    if (*text == '\0')
        return;
    if (sent_fd > 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &sent_fd, sizeof sent_fd);
    }
    (void)!sendmsg(fd, &message, MSG_NOSIGNAL);
}

static void *serve(void *argument)
{
    struct daemon *daemon = argument;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (receive_call(fd, daemon) && daemon->answer)
        answer(fd, daemon->answer, daemon->fd);
    for (size_t i = 0; i < ANSWERS_MAX && daemon->further[i] && receive_call(fd, daemon); i++)
        answer(fd, daemon->further[i], -1);
    if (daemon->interrupt) {
        char byte;
        kill(getpid(), SIGINT);
        daemon->hung_up = recv(fd, &byte, 1, 0) == 0;
    }
    close(fd);
    return daemon->successor ? serve(daemon->successor) : NULL;
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
     EXIT_MUST_UNLOAD, "2000 layers would have to be evicted: a/0, a/1, a/2 and 1997 more. "},
    {MANAGER "Busy", "{\"leases\":[{\"model\":\"a\",\"layer\":\"0\"}],\"leasesTotal\":1}",
     EXIT_BUSY, "layer a/0 is in use. "},
    {MANAGER "NotFound", "{\"kind\":\"layer\",\"name\":\"l\"}", EXIT_NOT_FOUND,
     "model m has no layer l."},
    {MANAGER "NotFound", "{\"kind\":\"model\",\"name\":\"m\"}", EXIT_NOT_FOUND,
     "there is no model m."},
    {MANAGER "AlreadyLoaded", "{\"model\":\"m\"}", EXIT_ALREADY_LOADED, "model m is known already"},
    {MANAGER "InvalidDefinition", "{\"line\":3,\"column\":7,\"path\":\"\",\"message\":\"oops\"}",
     EXIT_INVALID_DEFINITION, ":3:7: oops\n"},
    {MANAGER "InvalidDefinition",
     "{\"line\":0,\"column\":0,\"path\":\"layers[3].in_features\",\"message\":\"oops\"}",
     EXIT_INVALID_DEFINITION, ": layers[3].in_features: oops\n"},
    {MANAGER "SourceChanged", "{\"path\":\"w.gguf\"}", EXIT_OTHER, "file w.gguf has changed"},
    {MANAGER "SourceChanged", "{\"path\":\"m\"}", EXIT_OTHER, "the weight file of m has changed"},
    {MANAGER "SourceChanged", "{}", EXIT_OTHER, "the weight file of m has changed"},
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

    arguments = (struct arguments){.operands = {"m", "\xff"}, .n_operands = 2};
    ck_assert_int_eq(run(verb_unload_layer, arguments, NULL), EXIT_USAGE);
    ck_assert_ptr_nonnull(strstr(err, "UTF-8"));
    arguments = (struct arguments){.operands = {"fifo"}, .n_operands = 1};
    ck_assert_int_eq(run(verb_set_policy, arguments, NULL), EXIT_USAGE);
    ck_assert_ptr_nonnull(strstr(err, POLICY_NAMES(", ", " and ")));
}
END_TEST

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
        {"\u202e", ACQUIRED(TENSORS), EXIT_DONE, "wei"}, /* as it is, not as it is shown */
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
    const struct arguments arguments = {.operands = {"m", "l"}, .n_operands = 2};
    struct daemon warm = {.answer = ACQUIRED(""), .further = {CAPACITY, ""}, .fd = new_arena()};
    struct daemon cold = {.answer = NO_MODEL};
    struct daemon daemon = {.successor = &warm};

    ck_assert_int_eq(run(verb_cat, arguments, &daemon), EXIT_DONE);
    ck_assert_str_eq(out, "weights");
    ck_assert_str_eq(err, "");
    ck_assert_ptr_nonnull(strstr(warm.call, "Release"));
    close(warm.fd);

    daemon.successor = &cold;
    ck_assert_int_eq(run(verb_cat, arguments, &daemon), EXIT_NOT_FOUND);
    ck_assert_str_eq(out, "");
    ck_assert_ptr_nonnull(strstr(err, "there is no model m."));
    ck_assert_str_eq(cold.call, daemon.call);
}
END_TEST

START_TEST(cat_without_a_daemon)
{
    const struct arguments arguments = {.operands = {"m", "l"}, .n_operands = 2};

    ck_assert_int_eq(unlink(address.sun_path), 0);
    ck_assert_int_eq(run(verb_cat, arguments, NULL), EXIT_NO_DAEMON);
    ck_assert_ptr_nonnull(strstr(err, "systemctl start edgemindd"));
}
END_TEST

/* Another daemon has cut the arena since the lease was given, and knows nothing of it. */
START_TEST(cat_of_a_lost_arena)
{
    const struct arguments arguments = {.operands = {"m", "l"}, .n_operands = 2};
    struct daemon cold = {.answer = NO_MODEL};
    struct daemon daemon = {
        .answer = ACQUIRED(""), .further = {CAPACITY}, .fd = new_arena(), .successor = &cold};

    ck_assert_int_eq(ftruncate(daemon.fd, 6), 0);
    ck_assert_int_eq(run(verb_cat, arguments, &daemon), EXIT_NOT_FOUND);
    ck_assert_str_eq(out, "");
    ck_assert_ptr_nonnull(strstr(err, "there is no model m."));
    close(daemon.fd);
    ck_assert_int_eq(run(verb_cat,
                         (struct arguments){.operands = {"m", "l"}, .n_operands = 2, .json = true},
                         NULL),
                     EXIT_USAGE);
}
END_TEST

#define LAYER(name)                                                                               \
    "{\"name\":\"" name "\",\"state\":\"absent\",\"bytes\":4,\"footprintBytes\":0,\"extents\":0," \
    "\"tensors\":1}"
#define LAYERS \
    "{\"models\":[],\"layers\":[" LAYER("a") "," LAYER("\u202e") "],\"tensors\":[],\"total\":2}"
#define TENSOR_LIST                                                                              \
    "{\"models\":[],\"layers\":[],\"tensors\":[{\"name\":\"t\",\"dtype\":\"F32\",\"shape\":[1]," \
    "\"offset\":0,\"bytes\":4}],\"total\":1}"

START_TEST(list_of_tensors)
{
    struct arguments arguments = {.operands = {"m"}, .n_operands = 1, .tensors = true};
    struct daemon daemon = {
        .answer = "{\"parameters\":" LAYERS "}",
        .further = {"{\"parameters\":" TENSOR_LIST "}", "{\"parameters\":" TENSOR_LIST "}"}};

    ck_assert_int_eq(run(verb_list, arguments, &daemon), EXIT_DONE);
    ck_assert_str_eq(daemon.call, "{\"method\":\"" MANAGER "List\",\"parameters\":{\"model\":\"m\","
                                  "\"layer\":\"\u202e\"},\"more\":true}");
    ck_assert_str_eq(out, "LAYER / TENSOR DTYPE SHAPE SIZE\n"
                          "a                           4 B\n"
                          "  t            F32       1  4 B\n"
                          "\\u202e                      4 B\n"
                          "  t            F32       1  4 B\n");
    arguments.json = true;
    ck_assert_int_eq(run(verb_list, arguments, &daemon), EXIT_DONE);
    ck_assert_str_eq(out, LAYERS "\n" TENSOR_LIST "\n" TENSOR_LIST "\n");

    daemon = (struct daemon){.answer = "{\"parameters\":{\"layers\":[{}]}}"};
    arguments.json = false;
    ck_assert_int_eq(run(verb_list, arguments, &daemon), EXIT_OTHER);
    daemon = (struct daemon){.answer = "{}"};
    ck_assert_int_eq(run(verb_list, arguments, &daemon), EXIT_OTHER);
    ck_assert_int_eq(run(verb_list, (struct arguments){.tensors = true}, NULL), EXIT_USAGE);
}
END_TEST

/* Puts a file into the directory, returns its path; static storage. */
static const char *put(const char *name, const char *text, size_t n)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    ck_assert_uint_eq(fwrite(text, 1, n, file), n);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

#define GGUF "GGUF\3\0\0\0"

/* A problem names the user's file, not the model by which the daemon knows it. */
START_TEST(load_of_weights)
{
    const char *path = put("w.gguf", GGUF, sizeof GGUF - 1);
    struct arguments arguments = {.operands = {path}, .n_operands = 1};
    struct daemon daemon = {.answer = "{\"error\":\"" MANAGER "InvalidDefinition\",\"parameters\":"
                                      "{\"line\":0,\"column\":0,\"path\":\"blk.0.w\",\"message\":"
                                      "\"w: too short\"}}"};
    char expected[256];

    ck_assert_int_eq(run(verb_load_model, arguments, &daemon), EXIT_INVALID_DEFINITION);
    ck_assert_str_eq(daemon.call, "{\"method\":\"" MANAGER "LoadModel\",\"parameters\":"
                                  "{\"definitionFileDescriptor\":0,\"name\":\"w\"}}");
    ck_assert_int_eq(daemon.n_fds, 1);
    snprintf(expected, sizeof expected, "%s: blk.0.w: too short\n", path);
    ck_assert_str_eq(err, expected);

    daemon.answer = "{\"error\":\"" MANAGER "SourceChanged\",\"parameters\":{\"path\":\"n\"}}";
    arguments.name = "n";
    ck_assert_int_eq(run(verb_load_model, arguments, &daemon), EXIT_OTHER);
    ck_assert_ptr_nonnull(strstr(daemon.call, "\"name\":\"n\""));
    snprintf(expected, sizeof expected, "emctl: %s has changed", path);
    ck_assert_ptr_eq(strstr(err, expected), err);
    unlink(path);
}
END_TEST

START_TEST(load_of_shards)
{
    static const char map[] = "{\"weight_map\":{\"a\":\"w1\",\"b\":\"w2\"}}";
    struct arguments arguments = {.n_operands = 1};
    struct daemon daemon = {.answer = "{\"error\":\"" MANAGER "SourceChanged\",\"parameters\":"
                                      "{\"path\":\"w2\"}}"};

    put("w1", "", 0);
    put("w2", "", 0);
    arguments.operands[0] = put("index", map, sizeof map - 1);
    ck_assert_int_eq(run(verb_load_model, arguments, &daemon), EXIT_OTHER);
    ck_assert_int_eq(daemon.n_fds, 3);
    ck_assert_ptr_nonnull(strstr(daemon.call, "{\"path\":\"w2\",\"fileDescriptor\":2}"));
    ck_assert_ptr_nonnull(strstr(err, "/index: weight file w2 has changed"));

    unlink(put("w2", "", 0));
    put("index", map, sizeof map - 1);
    ck_assert_int_eq(run(verb_load_model, arguments, NULL), EXIT_OTHER);
    ck_assert_ptr_nonnull(
        strstr(err, "/index names the weight file w2, but there is no file /tmp/"));
    unlink(put("w1", "", 0));
    unlink(put("index", "", 0));
}
END_TEST

START_TEST(name_of_a_definition)
{
    const struct arguments arguments = {
        .operands = {put("d", "{}", 2)}, .n_operands = 1, .name = "n"};

    ck_assert_int_eq(run(verb_load_model, arguments, NULL), EXIT_USAGE);
    ck_assert_ptr_nonnull(strstr(err, "/d is a definition"));
    unlink(put("d", "", 0));
}
END_TEST

/* Of a file, of a model, and one whose load would be refused. */
START_TEST(plan)
{
#define PLANNED(n)                                                                                \
    "{\"parameters\":{\"model\":\"m\",\"policy\":\"lru\",\"capacityBytes\":1048576,\"steps\":[]," \
    "\"stepsTotal\":0,\"hits\":0,\"loaded\":0,\"mustUnload\":0,\"outOfMemory\":" #n               \
    ",\"busy\":0,\"evictions\":0,\"flushes\":0,\"resident\":0}}"
    struct arguments arguments = {.operands = {"no-such-file"}, .n_operands = 1};
    struct daemon daemon = {.answer = PLANNED(0)};

    ck_assert_int_eq(run(verb_plan, arguments, &daemon), EXIT_DONE);
    ck_assert_int_eq(daemon.n_fds, 0);
    ck_assert_ptr_nonnull(strstr(daemon.call, "{\"model\":\"no-such-file\"}"));
    ck_assert_str_eq(err, "");
    /* A directory is no file, but a model may have its name. */
    ck_assert_int_eq(chdir("/"), 0);
    arguments.operands[0] = "tmp";
    ck_assert_int_eq(run(verb_plan, arguments, &daemon), EXIT_DONE);
    arguments.operands[0] = "/tmp";
    ck_assert_int_eq(run(verb_plan, arguments, NULL), EXIT_OTHER);
    arguments.operands[0] = put("d", "{}", 2);
    daemon.answer = PLANNED(3);
    ck_assert_int_eq(run(verb_plan, arguments, &daemon), EXIT_OUT_OF_MEMORY);
    ck_assert_int_eq(daemon.n_fds, 1);
    ck_assert_ptr_nonnull(strstr(err, "3 layers are larger than the arena's 1.0 MiB"));
    unlink(arguments.operands[0]);
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
    tcase_add_test(tests, cat);
    tcase_add_test(tests, cat_over_a_restart);
    tcase_add_test(tests, cat_without_a_daemon);
    tcase_add_test(tests, cat_of_a_lost_arena);
    tcase_add_test(tests, list_of_tensors);
    tcase_add_test(tests, load_of_weights);
    tcase_add_test(tests, load_of_shards);
    tcase_add_test(tests, name_of_a_definition);
    tcase_add_test(tests, plan);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
