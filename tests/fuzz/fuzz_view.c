/* The input is what the view library's server thread does, a letter for each call, up to the first
 * newline, and then what hostile_server.h needs. Whatever the daemon answers, the table of units
 * stays right, all mappings stay in the view, and nothing is left at the end.
 *
 * The calls that the library replaces are not linked: the fuzzer itself needs the C library's. */
#include "client/view/daemon_link.h"
#include "client/view/real.h"
#include "client/view/view.h"
#include "tests/fuzz/hostile_server.h"
#include "tests/unit/count_open.h"

#include <fcntl.h>

enum { FILE_PAGES = 6, CALLS_MAX = 24, FIRST_PAGE = 1 };

struct reader {
    struct daemon_link link;
    struct view *view;
    int file;
    unsigned n_calls;
};

static void check_table(const struct unit_table *table)
{
    uint64_t end = 0, covered = 0;

    for (uint32_t i = 0; i < table->n_pieces; i++) {
        const struct unit_piece *piece = &table->pieces[i];
        REQUIRE(piece->begin_bytes >= end && piece->begin_bytes < piece->end_bytes);
        REQUIRE(piece->begin_bytes % table->page_bytes == 0 &&
                piece->end_bytes % table->page_bytes == 0);
        REQUIRE(piece->unit < table->n_units && table->names[piece->unit]);
        covered += piece->end_bytes - piece->begin_bytes;
        end = piece->end_bytes;
    }
    REQUIRE(end <= table->n_bytes && covered == table->covered_bytes);
}

/* As maker.c does it. NULL: the daemon knows no model with this file. */
static struct view *make_view(int file, uint64_t page_bytes)
{
    struct view *view = calloc(1, sizeof *view);

    REQUIRE(view);
    view->n_bytes = (FILE_PAGES - FIRST_PAGE) * page_bytes;
    view->file_offset_bytes = FIRST_PAGE * page_bytes;
    unit_table_init(&view->table, page_bytes, view->file_offset_bytes, view->n_bytes);
    if (daemon_link_find_model(file, view) < 0 || view->table.n_units == 0) {
        view_free(view);
        return NULL;
    }
    check_table(&view->table);
    view->units = calloc(view->table.n_units, sizeof *view->units);
    REQUIRE(view->units && view_map_file(view, PROT_READ, MAP_PRIVATE, file) == 0);
    return view;
}

static void acquire(struct reader *reader, uint32_t index)
{
    struct view *view = reader->view;
    struct unit *unit = &view->units[index];
    json_t *reply = NULL;

    if (!reader->link.varlink && daemon_link_open(&reader->link) < 0)
        return;
    int r = daemon_link_acquire(&reader->link, view, view->table.names[index], 0,
                                (json_int_t)reader->n_calls, &reply);
    REQUIRE((r == 0) == (reply != NULL));
    if (r < 0)
        return;
    if (atomic_load(&unit->state) == UNIT_HOLE &&
        view_map_unit(view, index, reply, reader->link.arena_fd, false) == 0 && !unit->lease)
        unit->lease = json_incref(json_object_get(reply, "lease"));
    json_decref(reply);
}

static void release(struct reader *reader, uint32_t index)
{
    struct unit *unit = &reader->view->units[index];

    if (unit->lease)
        REQUIRE(daemon_link_release(&reader->link, unit->lease) == 0);
    json_decref(unit->lease);
    unit->lease = NULL;
}

static void call(struct reader *reader, char letter)
{
    uint32_t index = reader->n_calls++ % reader->view->table.n_units;

    switch (letter) {
    case 'a':
        acquire(reader, index);
        break;
    case 'r':
        release(reader, index);
        break;
    case 'p':
        REQUIRE(view_make_plain(reader->view, index) == 0);
        break;
    case 'b':
        REQUIRE(view_make_bad(reader->view, index) == 0);
        break;
    case 'u':
        REQUIRE(daemon_link_update_view(&reader->link, reader->view) == 0);
        break;
    case 'c':
        daemon_link_close(&reader->link);
        break;
    case 'e':
        (void)daemon_link_arena_is_emptied(&reader->link);
        daemon_link_forget_arena(&reader->link);
        break;
    default:
        REQUIRE(daemon_link_end_view(&reader->link, reader->view) == 0);
        reader->view->declared = 0;
        break;
    }
}

/* Each page of the view is mapped, whatever from. */
static void check_place(struct view *view)
{
    REQUIRE(view_outside_bytes(view) <= view->n_bytes);
    for (uint64_t at = 0; at < view->n_bytes; at += view->table.page_bytes) {
        unsigned char is_there;
        REQUIRE(mincore(view->begin + at, view->table.page_bytes, &is_there) == 0);
    }
}

static void run_program(struct reader *reader, const uint8_t *letters, size_t n)
{
    for (size_t i = 0; i < n && i < CALLS_MAX; i++) {
        call(reader, (char)letters[i]);
        check_place(reader->view);
    }
    for (uint32_t i = 0; i < reader->view->table.n_units; i++)
        release(reader, i);
    real_munmap(reader->view->begin, reader->view->n_bytes);
    view_free(reader->view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const uint8_t *end = n_bytes ? memchr(data, '\n', n_bytes) : NULL;
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    struct hostile_server server;

    if (!end)
        return 0;
    size_t n_letters = (size_t)(end - data), n_open = count_open();
    hostile_start(&server, end + 1, n_bytes - n_letters - 1);
    REQUIRE(setenv("EDGEMIND_SOCKET", server.address.sun_path, 1) == 0);
    struct reader reader = {.link = {.arena_fd = -1}, .file = memfd_create("file", MFD_CLOEXEC)};
    REQUIRE(ftruncate(reader.file, (off_t)(FILE_PAGES * page_bytes)) == 0);
    reader.view = make_view(reader.file, page_bytes);
    if (reader.view)
        run_program(&reader, data, n_letters);
    daemon_link_close(&reader.link);
    daemon_link_forget_arena(&reader.link);
    close(reader.file);
    hostile_end(&server);
    REQUIRE(count_open() == n_open);
    return 0;
}
