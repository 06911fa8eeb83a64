/* The names of models whose files have no name in them, and the model's file in a folder. */
#include "client/library/model_folder.h"
#include "client/library/model_name.h"
#include "tests/unit/run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE    "/home/me/.cache/huggingface/hub/models--acme--Tiny-1.1B/"
#define REVISION CACHE "snapshots/0123456789abcdef0123456789abcdef01234567/"

static const struct {
    const char *path, *name;
    bool is_index, by_directory;
} names[] = {
    {"dir/llama.Q4.gguf", "llama.Q4", false, false},
    {".hidden", ".hidden", false, false},
    {"llama-00002-of-00003.gguf", "llama", false, false},
    {"llama-00004-of-00003.gguf", "llama-00004-of-00003", false, false},
    {"llama-00000-of-00003.gguf", "llama-00000-of-00003", false, false},
    {"llama-0002-of-0003.gguf", "llama-0002-of-0003", false, false},
    {"/a/b/model.safetensors", "model", false, false},
    {"/a/b/model.safetensors", "b", false, true},
    {"/a/b/../c/./model.safetensors", "c", false, true},
    {"/a/b/llama.gguf", "llama", false, true},
    {"/a/b/model.safetensors.index.json", "b", true, false},
    {"/model.safetensors.index.json", "model", true, false},
    {REVISION "model.safetensors", "Tiny-1.1B", false, false},
    {REVISION "model.safetensors", "Tiny-1.1B", false, true},
    {REVISION "model-00001-of-00002.safetensors", "Tiny-1.1B", false, false},
    {REVISION "model.safetensors.index.json", "Tiny-1.1B", true, false},
    {REVISION "tiny.Q4_K_M.gguf", "tiny.Q4_K_M", false, false},
    {REVISION "unet/diffusion_pytorch_model.safetensors", "Tiny-1.1B-unet", false, false},
    {REVISION "a/b/model.safetensors", "Tiny-1.1B-a-b", false, false},
    {CACHE "blobs/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "Tiny-1.1B",
     false, false},
    {"/hub/models--gpt2/snapshots/01/model.safetensors", "gpt2", false, false},
    {"/hub/models--a--b/elsewhere/model.safetensors", "model", false, false},
    {"/hub/datasets--a--b/snapshots/01/model.safetensors", "model", false, false},
    {"modeling.gguf", "modeling", false, false},
    {"a\nb\xff.gguf", "a\\u000ab\\u00ff", false, false},
};

START_TEST(of_paths)
{
    char *name = model_name_of_path(names[_i].path, names[_i].is_index, names[_i].by_directory);
    ck_assert_str_eq(name, names[_i].name);
    char *again = model_name_escape(name);
    ck_assert_str_eq(again, name);
    free(again);
    free(name);
}
END_TEST

/* A name has at most 255 bytes, and no half escapes or characters. */
START_TEST(long_names)
{
    char text[600];

    for (size_t n = 250; n < 262; n++) {
        memset(text, 'a', n);
        strcpy(text + n, "\xff\xc3\xbc\n");
        char *name = model_name_escape(text), *again = model_name_escape(name);
        ck_assert_uint_le(strlen(name), 255);
        ck_assert_str_eq(again, name);
        ck_assert(strlen(name) == (n > 255 ? 255 : n) || strstr(name, "\\u00ff"));
        free(name);
        free(again);
    }
}
END_TEST

static char directory[] = "/tmp/test-model-name-XXXXXX";

static void setup(void)
{
    strcpy(strrchr(directory, '-'), "-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
}

static void teardown(void)
{
    char command[64];

    ck_assert_int_eq(chdir("/"), 0);
    snprintf(command, sizeof command, "rm -r %s", directory);
    ck_assert_int_eq(system(command), 0);
}

static const struct {
    const char *files; /* separated by spaces */
    int error;         /* 0: opened */
    const char *path;
} folders[] = {
    {"model.safetensors", 0, "./model.safetensors"},
    {"README.md .hidden.gguf a.gguf", 0, "./a.gguf"},
    {"a-00001-of-00002.gguf a-00002-of-00002.gguf", 0, "./a-00001-of-00002.gguf"},
    {"a-00001-of-00001.safetensors model.safetensors.index.json b.safetensors", 0,
     "./model.safetensors.index.json"},
    {"README.md", -ENOENT, ""},
    {"model.bin.index.json", -ENOENT, ""},
    {"a.gguf b.gguf", -EMLINK, "gguf, "},
    {"a.gguf b.gguf c.gguf d.gguf e.gguf", -EMLINK, " and 2 more"},
    {"a-00001-of-00002.gguf a-00002-of-00002.gguf b.gguf", -EMLINK, "b.gguf"},
    {"a.safetensors.index.json b.safetensors.index.json", -EMLINK, ""},
};

START_TEST(of_folders)
{
    char *path, command[256];

    snprintf(command, sizeof command, "touch %s", folders[_i].files);
    ck_assert_int_eq(system(command), 0);
    int fd = model_folder_open(".", &path);
    if (folders[_i].error == 0) {
        ck_assert_int_ge(fd, 0);
        ck_assert_str_eq(path, folders[_i].path);
        close(fd);
    } else {
        ck_assert_int_eq(fd, folders[_i].error);
        ck_assert_ptr_nonnull(strstr(path, folders[_i].path));
    }
    free(path);
}
END_TEST

START_TEST(no_folder)
{
    char *path;

    ck_assert_int_eq(model_folder_open("nope", &path), -ENOENT);
    ck_assert_ptr_null(path);
    ck_assert_int_eq(mkdir("w.gguf", 0700), 0); /* a folder that is called like weights */
    ck_assert_int_eq(model_folder_open(".", &path), -EISDIR);
    ck_assert_str_eq(path, "./w.gguf");
    free(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_name");
    TCase *tests = tcase_create("model_name");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, of_paths, 0, (int)(sizeof names / sizeof *names));
    tcase_add_test(tests, long_names);
    tcase_add_loop_test(tests, of_folders, 0, (int)(sizeof folders / sizeof *folders));
    tcase_add_test(tests, no_folder);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
