/* The files of a model: recognised by their content, and opened in the directory of the file that
 * names them. */
#include "client/library/model_files.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/test-model-files-XXXXXX";

static void setup(void)
{
    strcpy(strrchr(directory, '-'), "-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
    ck_assert_int_eq(mkdir("sub", 0700), 0);
}

static void teardown(void)
{
    char command[64];

    ck_assert_int_eq(chdir("/"), 0);
    snprintf(command, sizeof command, "rm -r %s", directory);
    ck_assert_int_eq(system(command), 0);
}

static void put(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
    ck_assert_int_eq(fclose(file), 0);
}

static void put_text(const char *path, const char *text)
{
    put(path, text, strlen(text));
}

static int open_model(const char *path, struct model_files *ret,
                      struct model_files_failure *ret_failure)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return model_files_open(path, fd, false, ret, ret_failure);
}

/* Opens `path`, expects this name (NULL: none) and these parameters, and leaves nothing open. */
static void expect(const char *path, const char *name, const char *parameters)
{
    struct model_files files;
    struct model_files_failure failure;
    json_t *got = json_object();
    int before = dup(STDIN_FILENO);

    close(before);
    ck_assert_int_eq(open_model(path, &files, &failure), 0);
    if (name)
        ck_assert_str_eq(files.name, name);
    else
        ck_assert_ptr_null(files.name);
    ck_assert_int_eq(model_files_describe(&files, got), 0);
    char *text = json_dumps(got, JSON_COMPACT | JSON_SORT_KEYS);
    ck_assert_str_eq(text, parameters);
    for (size_t i = 0; i < files.n_fds; i++)
        ck_assert_int_eq(fcntl(files.fds[i], F_GETFD), FD_CLOEXEC);
    ck_assert_uint_eq(files.n_fds, 1 + json_array_size(files.weights));
    model_files_done(&files);
    int after = dup(STDIN_FILENO);
    ck_assert_int_eq(after, before);
    close(after);
    free(text);
    json_decref(got);
}

static const char SAFETENSORS[] = "\2\0\0\0\0\0\0\0{}";
static const char GGUF[] = "GGUF\3\0\0\0";

START_TEST(weights_alone)
{
    put("sub/llama.Q4.gguf", GGUF, sizeof GGUF - 1);
    expect("sub/llama.Q4.gguf", "llama.Q4",
           "{\"definitionFileDescriptor\":0,\"name\":\"llama.Q4\"}");
    /* The name says nothing about the kind. */
    put("m.json", SAFETENSORS, sizeof SAFETENSORS - 1);
    expect("m.json", "m", "{\"definitionFileDescriptor\":0,\"name\":\"m\"}");
    put(".hidden", GGUF, sizeof GGUF - 1);
    expect(".hidden", ".hidden", "{\"definitionFileDescriptor\":0,\"name\":\".hidden\"}");
    put("a\x1b\xff.x", GGUF, sizeof GGUF - 1);
    expect("a\x1b\xff.x", "a\\u001b\\u00ff",
           "{\"definitionFileDescriptor\":0,\"name\":\"a\\\\u001b\\\\u00ff\"}");
}
END_TEST

START_TEST(definition)
{
    static const char plain[] = "{\"definitionFileDescriptor\":0}";

    put_text("d.gguf", "{\"name\":\"x\",\"layers\":[]}");
    expect("d.gguf", NULL, plain);
    put_text("sub/d", "{\"name\":\"x\",\"weights\":\"w\"}");
    put_text("sub/w", "");
    expect("sub/d", NULL,
           "{\"definitionFileDescriptor\":0,\"weights\":[{\"fileDescriptor\":1,\"path\":\"w\"}]}");
    /* Files that the daemon will refuse are sent as they are. */
    static const char *const odd[] = {
        "",
        "{\"weights\":",
        "{\"weights\":3}",
        "{\"weights\":\"\"}",
        "{\"weights\":\"../sub/w\"}",
        "{\"weights\":\"/etc/passwd\"}",
        "{\"weights\":\"w\\u0000\"}",
        "{\"layers\":{\"weights\":\"w\"}}",
        "[\"weights\"]",
        "{\"weight_map\":3}",
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        bool index = strstr(odd[i], "weight_map");
        put_text("sub/d", odd[i]);
        expect("sub/d", index ? "sub" : NULL,
               index ? "{\"definitionFileDescriptor\":0,\"name\":\"sub\"}" : plain);
    }
}
END_TEST

START_TEST(sharded)
{
    static const char map[] = "{\"metadata\":{},\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\","
                              "\"c\":\"s1\",\"d\":\"deep/s3\"}}";
#define WEIGHTS                                            \
    "\"weights\":[{\"fileDescriptor\":1,\"path\":\"s1\"}," \
    "{\"fileDescriptor\":2,\"path\":\"s2\"},{\"fileDescriptor\":3,\"path\":\"deep/s3\"}]}"

    put_text("sub/index", map);
    put_text("sub/s1", "");
    put_text("sub/s2", "");
    ck_assert_int_eq(mkdir("sub/deep", 0700), 0);
    put_text("sub/deep/s3", "");
    expect("sub/index", "sub", "{\"definitionFileDescriptor\":0,\"name\":\"sub\"," WEIGHTS);
    ck_assert_int_eq(chdir("sub"), 0);
    expect("index", "sub", "{\"definitionFileDescriptor\":0,\"name\":\"sub\"," WEIGHTS);
    ck_assert_int_eq(chdir("deep"), 0);
    expect("../index", "sub", "{\"definitionFileDescriptor\":0,\"name\":\"sub\"," WEIGHTS);
}
END_TEST

/* Each failure names the file, and leaves nothing open. */
START_TEST(missing)
{
    static const struct {
        const char *named;
        int error;
    } cases[] = {{"nope", -ENOENT}, {"fifo", -EINVAL}, {"deep", -EISDIR}, {"w/x", -ENOTDIR}};
    struct model_files files;

    ck_assert_int_eq(mkfifo("sub/fifo", 0600), 0);
    ck_assert_int_eq(mkdir("sub/deep", 0700), 0);
    put_text("sub/w", "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_files_failure failure;
        char text[128], path[64];
        snprintf(text, sizeof text, "{\"weight_map\":{\"a\":\"w\",\"b\":\"%s\"}}", cases[i].named);
        snprintf(path, sizeof path, "sub/%s", cases[i].named);
        put_text("sub/index", text);
        int before = dup(STDIN_FILENO);
        close(before);
        ck_assert_int_eq(open_model("sub/index", &files, &failure), cases[i].error);
        ck_assert_str_eq(failure.named, cases[i].named);
        ck_assert_str_eq(failure.path, path);
        model_files_failure_done(&failure);
        int after = dup(STDIN_FILENO);
        ck_assert_int_eq(after, before);
        close(after);
    }
}
END_TEST

/* Whichever part is named, the first part comes first, and the others follow in their order. */
START_TEST(parts)
{
    static const char *const names[] = {"p-00001-of-00003.gguf", "p-00002-of-00003.gguf",
                                        "p-00003-of-00003.gguf"};
    struct model_files files;
    struct model_files_failure failure;
    struct stat first, sent;

    for (size_t i = 0; i < 3; i++)
        put(names[i], GGUF, sizeof GGUF - 1);
    ck_assert_int_eq(stat(names[0], &first), 0);
    for (size_t i = 0; i < 3; i++) {
        expect(names[i], "p",
               "{\"definitionFileDescriptor\":0,\"name\":\"p\",\"weights\":[{"
               "\"fileDescriptor\":1,\"path\":\"p-00002-of-00003.gguf\"},{"
               "\"fileDescriptor\":2,\"path\":\"p-00003-of-00003.gguf\"}]}");
        ck_assert_int_eq(open_model(names[i], &files, &failure), 0);
        ck_assert_int_eq(fstat(files.fds[0], &sent), 0);
        ck_assert_uint_eq(sent.st_ino, first.st_ino);
        model_files_done(&files);
    }
    unlink(names[1]);
    for (size_t i = 0; i < 3; i += 2) {
        ck_assert_int_eq(open_model(names[i], &files, &failure), -ENOENT);
        ck_assert_str_eq(failure.path, names[1]);
        ck_assert_ptr_null(failure.named);
        model_files_failure_done(&failure);
    }
    put("p-00001-of-99999.gguf", GGUF, sizeof GGUF - 1);
    ck_assert_int_eq(open_model("p-00001-of-99999.gguf", &files, &failure), -E2BIG);
    model_files_failure_done(&failure);
}
END_TEST

/* Not the shards but the file itself. */
START_TEST(unreadable)
{
    struct model_files files;
    struct model_files_failure failure;

    put_text("f", "{}");
    int fd = open("f", O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(model_files_open("f", fd, false, &files, &failure), -EBADF);
    ck_assert_str_eq(failure.path, "f");
    ck_assert_ptr_null(failure.named);
    model_files_failure_done(&failure);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

static const uint64_t MIB = 1 << 20;

/* Sparse files of these sizes. */
static uint64_t unit_bytes(uint64_t first_bytes, uint64_t second_bytes)
{
    struct model_files files = {.n_fds = 2};

    for (size_t i = 0; i < 2; i++) {
        files.fds[i] = open("f", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        ck_assert_int_eq(unlink("f"), 0);
        ck_assert_int_eq(ftruncate(files.fds[i], (off_t)(i == 0 ? first_bytes : second_bytes)), 0);
    }
    uint64_t bytes = model_files_unit_bytes(&files);
    model_files_done(&files);
    return bytes;
}

START_TEST(units)
{
    ck_assert_uint_eq(unit_bytes(1, 0), 4 * MIB);
    ck_assert_uint_eq(unit_bytes(4096 * MIB, 4096 * MIB), 4 * MIB);
    ck_assert_uint_eq(unit_bytes(16384 * MIB, 16384 * MIB), 16 * MIB);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_files");
    TCase *tests = tcase_create("model_files");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, weights_alone);
    tcase_add_test(tests, definition);
    tcase_add_test(tests, sharded);
    tcase_add_test(tests, missing);
    tcase_add_test(tests, parts);
    tcase_add_test(tests, unreadable);
    tcase_add_test(tests, units);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
