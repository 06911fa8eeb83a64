/* Fills from weight files: every byte of a layer comes from its place in its file, with all
 * offsets, extents and ways of reading, and no other byte of the arena changes. test_loader_changes
 * has files that change. */
#include "daemon/weights/loader.h"

#include "common/clock.h"
#include "tests/unit/loader_files_fixture.h"
#include "tests/unit/run_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* Leaves holes of less than a MiB and nothing else. */
static void fragment(void)
{
    static const uint64_t sizes[] = {1, 1, 200, 1, 250, 1, 250, 1, 250};
    enum { N = sizeof sizes / sizeof sizes[0] };
    for (unsigned i = 0; i < N; i++)
        ck_assert_int_eq(
            arena_alloc(bench.arena, sizes[i] * 4096 / page ?: 1, &bench.layers[i].allocation), 0);
    ck_assert_int_eq(
        arena_alloc(bench.arena, arena_free_pages(bench.arena), &bench.layers[N].allocation), 0);
    for (unsigned i = 0; i < N; i += 2)
        arena_release(bench.arena, &bench.layers[i].allocation);
}

/* One of each kind: aligned, just beside, a sector, odd; a byte, a block, many chunks; and all of
 * those that end with the file. */
START_TEST(every_place)
{
    static const uint64_t offsets[] = {0, 1, 512, 4095, 4097, 1234567};
    static const uint64_t sizes[] = {1, 4096, 4097, 1048576 + 7};
    enum {
        N_OFFSETS = sizeof offsets / sizeof offsets[0],
        N_SIZES = sizeof sizes / sizeof sizes[0]
    };
    begin_with_files(io_modes[_i], 2);

    add_file(file_bytes);
    for (unsigned fragmented = 0; fragmented < 2; fragmented++) {
        if (fragmented)
            fragment();
        for (unsigned i = fragmented ? N_SIZES - 1 : 0; i < N_SIZES; i++)
            for (unsigned j = 0; j <= N_OFFSETS; j++) {
                bool is_last = j == N_OFFSETS;
                struct piece piece = {is_last ? file_bytes - sizes[i] : offsets[j], 0, sizes[i], 0};
                struct layer *layer = define(11, &piece, 1);
                ck_assert_int_eq(fill(layer), 0);
                if (fragmented)
                    ck_assert_uint_gt(allocation_n_extents(&layer->allocation), 1);
                check_bytes(layer);
                forget(layer);
            }
    }
}
END_TEST

START_TEST(many_pieces_of_two_files)
{
    begin_with_files(io_modes[_i], 2);
    struct piece pieces[] = {
        {file_bytes - 100, 0, 100, 1}, /* begins late in its page */
        {4095, 0, 2, 0},
        {2 * MIB, 0, MIB + 1, 0},
        {9000, 0, 1, 1},
        {5, 0, 2 * MIB, 1},
        {file_bytes - 1, 0, 1, 0},
        {0, 0, 4096, 0},
    };

    add_file(file_bytes);
    add_file(file_bytes);
    struct layer *layer = define(11, pieces, sizeof pieces / sizeof pieces[0]);
    ck_assert_int_eq(fill(layer), 0);
    check_bytes(layer);
    forget(layer);
    fragment();
    ck_assert_int_eq(fill(layer), 0);
    check_bytes(layer);
}
END_TEST

/* A file whose size is a whole number of blocks, and one of less than a block. */
START_TEST(ends_of_files)
{
    static const uint64_t sizes[] = {1, 4095, 4096, 2 * 1048576, 2 * 1048576 + 1};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        begin_with_files(io_modes[_i], 2);
        struct piece piece = {0, 0, sizes[i], 0};
        add_file(sizes[i]);
        struct layer *layer = define(11, &piece, 1);
        ck_assert_int_eq(fill(layer), 0);
        check_bytes(layer);
        /* The bytes that a direct read leaves after the file's end are not visible. */
        const unsigned char *base = backing_base(bench.backing);
        for (uint64_t at = sizes[i]; at < layer->allocation.n_pages * page; at++)
            ck_assert_uint_eq(base[at], 0);
    }
}
END_TEST

static uint64_t resident_bytes(const struct weight_file *file)
{
    /* Those of the kernel, which the large_pages of the integration tests does not change. */
    uint64_t kernels_page = getauxval(AT_PAGESZ);
    size_t n_pages = (file->bytes + kernels_page - 1) / kernels_page, n = 0;
    unsigned char *state = malloc(n_pages);
    void *mapping = mmap(NULL, file->bytes, PROT_READ, MAP_SHARED, file->fd, 0);
    ck_assert_ptr_nonnull(state);
    ck_assert_ptr_ne(mapping, MAP_FAILED);
    ck_assert_int_eq(mincore(mapping, file->bytes, state), 0);
    for (size_t i = 0; i < n_pages; i++)
        n += state[i] & 1;
    munmap(mapping, file->bytes);
    free(state);
    return n * kernels_page;
}

static bool is_direct(const struct weight_file *file)
{
    return fcntl(file->fd, F_GETFL) & O_DIRECT;
}

/* False, with a message, if the file system has no O_DIRECT. */
static bool takes_direct(const struct weight_file *file)
{
    int flags = fcntl(file->fd, F_GETFL);
    bool takes = fcntl(file->fd, F_SETFL, flags | O_DIRECT) == 0;
    fcntl(file->fd, F_SETFL, flags);
    if (!takes)
        puts("SKIP: direct reads: not on this file system");
    return takes;
}

START_TEST(the_mode_that_was_asked_for)
{
    for (unsigned i = 1; i < N_IO_MODES; i++) {
        begin_with_files(io_modes[i], 2);
        struct piece piece = {0, 0, file_bytes, 0};
        add_file(file_bytes);
        if (takes_direct(&bench.files[0])) {
            ck_assert_int_eq(fill(define(11, &piece, 1)), 0);
            ck_assert_int_eq(is_direct(&bench.files[0]), io_modes[i] == IO_DIRECT);
        }
    }
}
END_TEST

static void drop_from_cache(int fd)
{
    ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

/* Whether all of these loads of a cold file read past the page cache. Tries several times, because
 * on a busy machine a delayed check may see pages that it has loaded itself. */
static bool stays_cold(struct layer *layer, int fd, unsigned n_loads)
{
    const struct weight_file *file = &bench.files[0];
    enum { TRIES = 100 };
    for (unsigned i = 0; i < TRIES; i++) {
        unsigned n_direct = 0;
        drop_from_cache(fd);
        while (n_direct < n_loads) {
            ck_assert_int_eq(fill(layer), 0);
            check_bytes(layer);
            forget(layer);
            if (!is_direct(file))
                break;
            n_direct++;
        }
        if (n_direct == n_loads)
            return resident_bytes(file) < file_bytes / 2;
    }
    return false;
}

START_TEST(auto_follows_the_page_cache)
{
    begin_with_files(IO_AUTO, 2);
    struct weight_file *file = &bench.files[0];
    struct piece piece = {0, 0, file_bytes, 0};

    add_file(file_bytes);
    if (takes_direct(file) && resident_bytes(file) == 0) {
        struct layer *layer = define(11, &piece, 1);
        int reader = reopen_for_writing(file);
        /* The file stays cold: the check must not make it warm. */
        ck_assert(stays_cold(layer, reader, 3));

        /* Another program reads it: now it is warm. */
        char *bytes = malloc(file_bytes);
        ck_assert_int_eq(pread(reader, bytes, file_bytes, 0), file_bytes);
        free(bytes);
        ck_assert_int_eq(fill(layer), 0);
        ck_assert(!is_direct(file));
        check_bytes(layer);
        forget(layer);

        /* It is not checked again for a run or a view, because a load has just read from it. */
        file->probed_usec = clock_monotonic_usec() + 3600 * UINT64_C(1000000);
        for (int is_for_view = 0; is_for_view <= 1; is_for_view++) {
            layer->ahead = !is_for_view;
            drop_from_cache(reader);
            start_as(layer, is_for_view ? FILL_PROMPT : FILL_ORDINARY);
            ck_assert_int_eq(await(layer), 0);
            ck_assert(!is_direct(file));
            check_bytes(layer);
            forget(layer);
        }
        file->probed_usec = 0;

        /* And cold again. */
        drop_from_cache(reader);
        if (resident_bytes(file) == 0)
            ck_assert(stays_cold(layer, reader, 1));
        close(reader);
    }
}
END_TEST

/* A probe of a warm file clears O_DIRECT. */
START_TEST(no_probe_while_the_file_is_read)
{
    struct read_modes modes;
    struct chunk_list chunks = {0};
    struct piece piece = {0, 0, file_bytes, 0};
    atomic_bool is_chosen = false;

    begin_with_files(IO_DIRECT, 2);
    add_file(file_bytes);
    struct weight_file *file = &bench.files[0];
    if (takes_direct(file)) {
        struct layer *layer = define(11, &piece, 1);
        ck_assert_int_eq(fill(layer), 0);
        int reader = reopen_for_writing(file);
        char *bytes = malloc(file_bytes);
        ck_assert_int_eq(pread(reader, bytes, file_bytes, 0), file_bytes);
        struct iovec vector = {bytes, 1};
        /* An emulator may not know this system call; then no file looks warm. */
        bool can_probe = preadv2(reader, &vector, 1, 0, RWF_NOWAIT) == 1;
        free(bytes);
        close(reader);
        read_modes_init(&modes, IO_AUTO);
        ck_assert_int_eq(chunk_list_make(layer, bench.arena, LOADER_CHUNK_BYTES, &chunks), 0);

        read_modes_begin_read(&modes, file);
        ck_assert_int_eq(read_modes_choose(&modes, layer, false, &chunks, &is_chosen), 0);
        ck_assert(is_chosen);
        ck_assert(is_direct(file));
        read_modes_end_read(&modes, file);

        is_chosen = false;
        ck_assert_int_eq(read_modes_choose(&modes, layer, false, &chunks, &is_chosen), 0);
        ck_assert_int_eq(is_direct(file), !can_probe);
        free(chunks.elements);
        read_modes_done(&modes);
        forget(layer);
    }
}
END_TEST

/* A file of a file system without direct reads, large enough for many chunks. */
START_TEST(falls_back_where_direct_is_refused)
{
    static const char path[] = "/sys/kernel/btf/vmlinux";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0 || status.st_size < 100000 ||
        fcntl(fd, F_SETFL, O_DIRECT) == 0) {
        puts("SKIP: a file without direct reads: none known here");
        if (fd >= 0)
            close(fd);
        return;
    }
    size_t n_bytes = (size_t)status.st_size - 77;
    if (n_bytes > 3 * MIB)
        n_bytes = 3 * MIB;
    for (unsigned i = 0; i < N_IO_MODES; i++) {
        begin_with_files(io_modes[i], 2);
        struct piece piece = {77, 0, n_bytes, 0};
        ck_assert_int_eq(weight_file_init(&bench.files[0], dup(fd), path), 0);
        bench.definition.n_files = 1;
        ck_assert_int_eq(fill(define(11, &piece, 1)), 0);
        unsigned char *bytes = bench.images[0] = malloc(n_bytes);
        for (size_t n = 0; n < n_bytes;) {
            ssize_t n_read = pread(fd, bytes + n, n_bytes - n, (off_t)(77 + n));
            ck_assert_int_gt(n_read, 0);
            n += (size_t)n_read;
        }
        ck_assert_int_eq(memcmp(bytes, backing_base(bench.backing) + 77, n_bytes), 0);
    }
    close(fd);
}
END_TEST

/* Two threads load two layers of one file at once: both decide how to read the file. */
START_TEST(two_at_once)
{
    begin_with_files(io_modes[_i], 2);
    const uint64_t bytes = MIB + MIB / 2;
    struct piece pieces[] = {{1, 0, bytes, 0}, {MIB + 1, 0, bytes, 0}};

    add_file(file_bytes);
    for (unsigned round = 0; round < 4; round++) {
        struct layer *one = define(10, &pieces[0], 1), *other = define(11, &pieces[1], 1);
        start(one);
        start(other);
        ck_assert_int_eq(await(one), 0);
        ck_assert_int_eq(await(other), 0);
        const unsigned char *base = backing_base(bench.backing);
        uint64_t at = other->allocation.first_page * page + 1;
        ck_assert_int_eq(memcmp(base + 1, bench.images[0] + 1, bytes), 0);
        ck_assert_int_eq(memcmp(base + at, bench.images[0] + MIB + 1, bytes), 0);
        forget(one);
        forget(other);
    }
}
END_TEST

/* A layer with weights and one without: neither shows old bytes of its pages. */
START_TEST(zeros_between_and_behind)
{
    begin_with_files(IO_BUFFERED, 2);
    struct piece pieces[] = {{4000, 0, 10, 0}, {3 * MIB + 10, 0, 5, 0}};

    add_file(file_bytes);
    struct layer *layer = define(11, pieces, 2);
    ck_assert_int_eq(fill(layer), 0);
    check_bytes(layer);
}
END_TEST

START_TEST(cancelled_while_it_reads)
{
    begin_with_files(io_modes[_i], 2);
    struct piece piece = {3, 0, 3 * MIB, 0};

    add_file(file_bytes);
    struct layer *layer = define(11, &piece, 1);
    for (unsigned round = 0; round < 8; round++) {
        start(layer);
        while (round % 2 && loader_progress_bytes(layer) == 0)
            continue;
        loader_cancel(bench.loader, layer);
        int r = await(layer);
        ck_assert_msg(r == -ECANCELED || r == 0, "%d", r);
        if (r == 0)
            check_bytes(layer);
        forget(layer);
    }
    ck_assert_int_eq(fill(layer), 0);
    check_bytes(layer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loader_files");
    TCase *tcase = tcase_create("loader_files");
    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, every_place, 0, N_IO_MODES);
    tcase_add_loop_test(tcase, many_pieces_of_two_files, 0, N_IO_MODES);
    tcase_add_loop_test(tcase, ends_of_files, 0, N_IO_MODES);
    tcase_add_test(tcase, the_mode_that_was_asked_for);
    tcase_add_test(tcase, auto_follows_the_page_cache);
    tcase_add_test(tcase, no_probe_while_the_file_is_read);
    tcase_add_test(tcase, falls_back_where_direct_is_refused);
    tcase_add_loop_test(tcase, two_at_once, 0, N_IO_MODES);
    tcase_add_test(tcase, zeros_between_and_behind);
    tcase_add_loop_test(tcase, cancelled_while_it_reads, 0, N_IO_MODES);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
