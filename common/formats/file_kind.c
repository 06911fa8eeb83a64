/* The first bytes of a file decide. Most formats have fixed bytes for this purpose. ONNX has none,
 * but begins with a version number and a text in protobuf's encoding. Sources:
 * https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md;
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; tensorflow/lite/schema/schema.fbs;
 * https://docs.python.org/3/library/pickle.html; ggml's and llama.cpp's headers. */
#include "common/formats/file_kind.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum { HEAD_BYTES = 512 };

static const struct {
    uint32_t offset;
    uint32_t n_bytes;
    const char *bytes, *text;
} kinds[] = {
#define KIND(offset, bytes, text)             \
    {                                         \
        offset, sizeof bytes - 1, bytes, text \
    }
    KIND(0, "version https://git-lfs.github.com/spec/",
         "this is a Git LFS pointer, not the file that it stands for; 'git lfs pull' fetches that"),
    KIND(0, "# xet version ",
         "this is a Xet pointer, not the file that it stands for; download that"),
    KIND(0, "lmgg", "this is an old ggml file, as whisper.cpp's; only GGUF and safetensors load"),
    KIND(0, "fmgg", "this is an old ggml file (ggmf); convert it to GGUF"),
    KIND(0, "tjgg", "this is an old ggml file (ggjt); convert it to GGUF"),
    KIND(4, "TFL3", "this is a TensorFlow Lite model (tflite); only GGUF and safetensors load"),
    KIND(0, "\x89HDF\r\n\x1a\n",
         "this is an HDF5 file, as Keras has it; convert it to safetensors"),
    KIND(0, "\x93NUMPY", "this is a NumPy array; convert it to safetensors"),
    KIND(0, "PK\3\4",
         "this is a ZIP archive, as PyTorch's checkpoints (.pt, .bin, .pth) are; convert "
         "it to safetensors"),
    KIND(0, "\x1f\x8b", "this is compressed by gzip; unpack it"),
    KIND(0, "\x28\xb5\x2f\xfd", "this is compressed by zstd; unpack it"),
    KIND(0,
         "\xfd"
         "7zXZ",
         "this is compressed by xz; unpack it"),
};

static bool is_pickle(const unsigned char *head, size_t n)
{
    enum { PROTOCOL = 0x80, PROTOCOL_MIN = 2, PROTOCOL_MAX = 5 };
    return n > 2 && head[0] == PROTOCOL && head[1] >= PROTOCOL_MIN && head[1] <= PROTOCOL_MAX;
}

/* ir_version, a small number, is followed by a producer, a domain, a version, a text or the graph.
 */
static bool is_onnx(const unsigned char *head, size_t n)
{
    enum { VERSION = 0x08, VERSION_MAX = 32 };
    return n > 3 && head[0] == VERSION && head[1] > 0 && head[1] <= VERSION_MAX &&
           head[2] != '\0' && memchr("\x12\x1a\x22\x28\x32\x3a\x42", head[2], 7);
}

static bool is_html(const char *head, size_t n)
{
    size_t i = n >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

    while (i < n && memchr(" \t\r\n", head[i], 4))
        i++;
    return (n - i >= 14 && strncasecmp(head + i, "<!doctype html", 14) == 0) ||
           (n - i >= 5 && strncasecmp(head + i, "<html", 5) == 0) ||
           (n - i >= 5 && strncasecmp(head + i, "<?xml", 5) == 0);
}

int file_kind_detect(const struct byte_source *source, const char **ret)
{
    char head[HEAD_BYTES];
    size_t n = source->size_bytes < sizeof head ? (size_t)source->size_bytes : sizeof head;
    int r = n > 0 ? source->read(source->context, 0, head, n) : 0;

    *ret = NULL;
    if (r < 0)
        return r;
    if (n == 0)
        *ret = "the file is empty; is the download complete?";
    else if (is_html(head, n))
        *ret = "this is a web page, not the file that it offers; download that";
    else if (is_pickle((const unsigned char *)head, n))
        *ret = "this is a Python pickle, as old PyTorch checkpoints are; convert it to safetensors";
    else if (is_onnx((const unsigned char *)head, n))
        *ret = "this is an ONNX model; only GGUF and safetensors load";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !*ret; i++)
        if (n >= kinds[i].offset + kinds[i].n_bytes &&
            memcmp(head + kinds[i].offset, kinds[i].bytes, kinds[i].n_bytes) == 0)
            *ret = kinds[i].text;
    return 0;
}
